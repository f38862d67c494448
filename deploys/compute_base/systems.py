"""Which systems a managed host may have, and where each has what the deploys install there. Pure.

Debian 12 is what the lab boots. Of drivers nothing was run here on any system: the names are those of NVIDIA's CUDA
installation guide for Linux and of the distributions' package archives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deploys import hosts
from deploys.settings import Settings
from facts.health.result import CheckResult

# Every lock in runtimes/ is resolved for it, with the digests of its wheels.
ARCHITECTURE = "x86_64"
_CUDA = "https://developer.download.nvidia.com/compute/cuda/repos/{}/x86_64/cuda-keyring_1.1-1_all.deb"


@dataclass(frozen=True)
class SystemParts:
    """Where a release has what its own package lists do not say. `firmware_suite`: AMD's firmware, "" where untried."""

    name: str
    cuda_keyring: str
    kernel_headers: str
    firmware_suite: str = ""


# By ID and VERSION_ID of os-release.
SYSTEMS: Mapping[tuple[str, str], SystemParts] = {
    ("debian", "12"): SystemParts("Debian 12", _CUDA.format("debian12"), "linux-headers-amd64", "bookworm-backports"),
    ("debian", "13"): SystemParts("Debian 13", _CUDA.format("debian13"), "linux-headers-amd64", "trixie-backports"),
    ("ubuntu", "24.04"): SystemParts("Ubuntu 24.04", _CUDA.format("ubuntu2404"), "linux-headers-generic"),
}
FIRMWARE_COMPONENT = "non-free-firmware"


def drivers_of(settings: Settings) -> str:
    """The kind of runtime whose driver a host needs: cuda, rocm, or none; the control node has none."""
    kind = settings.runtime.kind
    needs = settings.accelerators.names and not settings.is_control and kind != "cpu"
    return kind if needs else "none"


def system_check(
    settings: Settings, found: Mapping[str, Any], sources: Collection[str] | None = None
) -> CheckResult | None:
    """Whether all parts exist for the system that a host has; None where its word was not heard.

    `found` is the host's own word (facts.host.Host), `sources` are apt's, as in "bookworm main", where they were asked.
    """
    if "os_id" not in found:
        return None
    node, runtime = settings.node, settings.runtime.kind
    missing = []
    if found["architecture"] != ARCHITECTURE:
        missing.append(f"the {runtime} runtime has wheels for {ARCHITECTURE} only, and this is {found['architecture']}")
    if hosts.of(settings).has_own_system:
        missing += _of_the_system(settings, found, sources)
    what = f"{node}: {found['os_name']} on {found['architecture']}"
    if not missing:
        return CheckResult("system", True, what)
    known = ", ".join(parts.name for parts in SYSTEMS.values())
    return CheckResult(
        "system", False, f"{what}: {'; '.join(missing)}", f"give it one of {known} on {ARCHITECTURE} with what is named"
    )


def _of_the_system(settings: Settings, found: Mapping[str, Any], sources: Collection[str] | None) -> list[str]:
    """What a host whose packages and services are ours lacks."""
    parts, drivers = SYSTEMS.get((found["os_id"], found["os_version"])), drivers_of(settings)
    missing = []
    if not found["init_is_systemd"]:
        missing.append("systemd does not run it, and the services want that")
    if not found["python_version"]:
        missing.append("/usr/bin/python3 is not there")
    if parts is None:
        wanted = {"cuda": ", NVIDIA's repository, kernel headers", "rocm": ", AMD's firmware"}.get(drivers, "")
        return [*missing, f"where it has what is installed is not known (system packages{wanted})"]
    if drivers == "rocm" and not parts.firmware_suite:
        missing.append(f"AMD's firmware is not called firmware-amd-graphics in {parts.name}, and its own was not tried")
    elif drivers == "rocm" and sources is not None and f"{parts.firmware_suite} {FIRMWARE_COMPONENT}" not in sources:
        missing.append(f"apt has no source of {parts.firmware_suite} with {FIRMWARE_COMPONENT}, for AMD's firmware")
    return missing
