"""What an image is asked to be, everything that goes into it, and the key that names it. Pure but for reading sources.

The inputs are what is declared: suite, packages, files, roles, the sources of the deploys that are applied. The key
covers these and the version of every package that was installed, so an image made again after an update of Debian's has
another name, and the old one stays to go back to.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploys.compute_base.system import limits_file
from facts.sources import REPOSITORY
from images import contents

# Programs that decide what is in the tree: a change in one of them is another image.
_SOURCES = (
    "images/contents.py",
    "images/initramfs",
    "images/roles.py",
    "images/tree.py",
    "deploys/compute_base/shared.py",
    "deploys/compute_base/accelerator.py",
    "deploys/compute_base/systems.py",
    "deploys/operations/account.py",
    "deploys/operations/managed.py",
    "deploys/operations/time.py",
    "images/construct.py",
    "images/scrub.py",
)
KEY_DIGITS = 16


@dataclass(frozen=True)
class Request:
    """What is asked for. `network_drivers`: kernel modules that the initrd needs for the nodes' cards.

    `kernel_arguments` are the variant's own, for the boot loader; they are in the manifest only.
    """

    variant: contents.Variant
    login_user: str = contents.LOGIN_USER
    service_user: str = "cluster"
    state_directory: str = "/var/lib/cluster"
    kernel_arguments: tuple[str, ...] = ()
    network_drivers: tuple[str, ...] = ()
    minimum_kernel: str = ""

    def __post_init__(self) -> None:
        if self.variant not in contents.VARIANTS:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(contents.VARIANTS)}")


def inputs(request: Request) -> dict[str, Any]:
    """All that is declared of an image, as plain JSON values."""
    # pyinfra comes with these, and takes longer to load than all that looks at images without asking for one.
    from deploys.compute_base.shared import PACKAGES
    from images.roles import ROLES

    kernel = contents.KERNELS[request.variant]
    return {
        **json.loads(json.dumps(asdict(request))),
        "architecture": platform.machine(),
        "suite": contents.SUITE,
        "kernel_package": kernel.package,
        "kernel_suite": kernel.suite,
        "packages": sorted({*contents.BASE_PACKAGES, *contents.BOOT_PACKAGES, *PACKAGES}),
        "roles": [name for name, _ in ROLES],
        "limits": limits_file().sha256,
        "pyinfra": version("pyinfra"),
        "sources": digest_of_sources(REPOSITORY, _SOURCES),
    }


def key(declared: Mapping[str, Any], packages: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits over the inputs and the versions of the packages; their order does not matter."""
    text = json.dumps({"inputs": declared, "packages": packages}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def kernel_version(release: str) -> tuple[int, ...]:
    """The numbers that a kernel release begins with: 6.12.95+deb12-amd64 is (6, 12, 95)."""
    found = re.match(r"\d+(\.\d+)*", release)
    return tuple(int(number) for number in found.group().split(".")) if found else ()


def newest(releases: Iterable[str]) -> str:
    """The highest of kernel versions; empty when there is none."""
    return max(releases, key=kernel_version, default="")


def digest_of_sources(root: Path, names: Iterable[str]) -> str:
    """Hex digest over files and directories below root: names, executable bits, contents."""
    found = hashlib.sha256()
    for name in sorted(names):
        place = root / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                mode = path.stat().st_mode & 0o111
                found.update(f"{path.relative_to(root)}\0{bool(mode)}\0{path.stat().st_size}\0".encode())
                found.update(path.read_bytes())
    return found.hexdigest()
