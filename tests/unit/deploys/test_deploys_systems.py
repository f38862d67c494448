"""Systems that hosts may have: known parts, and what is named where one is missing. Values as os-release has them."""

from __future__ import annotations

from typing import Any

import pytest

from deploys.compute_base.systems import SYSTEMS, drivers_of, system_check
from deploys.settings import Settings
from hardware.geforce_pair import CLUSTER as GEFORCE
from hardware.v0_1 import CLUSTER as RADEON

DEBIAN_12 = {
    "os_id": "debian",
    "os_version": "12",
    "os_name": "Debian GNU/Linux 12 (bookworm)",
    "architecture": "x86_64",
    "python_version": "3.11.2",
    "init_is_systemd": True,
}
DEBIAN_13 = {**DEBIAN_12, "os_version": "13", "os_name": "Debian GNU/Linux 13 (trixie)", "python_version": "3.13.5"}
UBUNTU = {**DEBIAN_12, "os_id": "ubuntu", "os_version": "24.04", "os_name": "Ubuntu 24.04.3 LTS"}
BACKPORTS = ["bookworm main", "bookworm-backports non-free-firmware", "trixie-backports non-free-firmware"]


def settings(composed: Any, kind: str, node: str = "compute0") -> Settings:
    if kind == "cpu":
        found: Settings = composed()[node]
    elif kind == "cuda":
        found = composed(GEFORCE, model="qwen2.5-7b-instruct-awq", dtype="float16")[node]
    else:
        found = composed(RADEON, mode="span")[node]
    return found


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        *[(kind, found) for kind in ("cpu", "cuda", "rocm") for found in (DEBIAN_12, DEBIAN_13)],
        *[("cpu", UBUNTU), ("cuda", UBUNTU)],
    ],
)
def test_systems_with_all_parts(composed: Any, kind: str, found: dict[str, Any]) -> None:
    check = system_check(settings(composed, kind), found, BACKPORTS)
    assert check and (check.ok, check.remedy) == (True, ""), check


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("cpu", {"architecture": "aarch64"}, ["the cpu runtime has wheels for x86_64 only, and this is aarch64"]),
        ("cuda", {"architecture": "aarch64", "os_id": "ubuntu", "os_version": "24.04"}, ["cuda runtime", "aarch64"]),
        ("cuda", {"os_id": "ubuntu", "os_version": "22.04"}, ["NVIDIA's repository, kernel headers"]),
        ("rocm", {"os_id": "ubuntu", "os_version": "24.04"}, ["firmware-amd-graphics in Ubuntu 24.04"]),
        ("rocm", {"os_version": "11"}, ["AMD's firmware"]),
        ("cpu", {"os_version": ""}, ["is not known (system packages)"]),
        ("cpu", {"os_id": "raspbian"}, ["is not known"]),
        ("cpu", {"init_is_systemd": False}, ["systemd does not run it"]),
        ("cpu", {"python_version": None}, ["/usr/bin/python3 is not there"]),
    ],
)
def test_what_is_missing_is_named(composed: Any, kind: str, change: dict[str, Any], named: list[str]) -> None:
    check = system_check(settings(composed, kind), {**DEBIAN_12, **change}, BACKPORTS)
    assert check and check.ok is False and check.remedy
    for words in named:
        assert words in check.detail


def test_backports_that_apt_does_not_have(composed: Any) -> None:
    node = settings(composed, "rocm")
    for found, suite in ((DEBIAN_12, "bookworm-backports"), (DEBIAN_13, "trixie-backports")):
        check = system_check(node, found, ["bookworm main", f"{suite} main"])
        assert check and check.ok is False
        assert f"apt has no source of {suite} with non-free-firmware" in check.detail
    control = settings(composed, "rocm", "control-0-1")
    assert drivers_of(control) == "none"
    checked = system_check(control, DEBIAN_12, [])
    assert checked and checked.ok, "it gets no driver"


def test_a_laptop_needs_the_architecture_only(composed: Any) -> None:
    node = composed(managed=False)["compute0"]
    other = {**DEBIAN_12, "os_id": "arch", "os_version": "", "init_is_systemd": False}
    check, refused = system_check(node, other), system_check(node, {**other, "architecture": "arm64"})
    assert check and check.ok and refused and refused.ok is False


def test_a_host_that_said_nothing(composed: Any) -> None:
    assert system_check(settings(composed, "cpu"), {}) is None


def test_every_keyring_is_of_its_own_system() -> None:
    for (distribution, version), parts in SYSTEMS.items():
        assert f"/{distribution}{version.replace('.', '')}/x86_64/" in parts.cuda_keyring
