"""What must hold before a lab can be brought up, one line a problem with its fix.

Reads only, but for one trial mount.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab.paths import LabPaths
from lab.processes import cgroup2_mount
from lab.rules import foreign_routes
from lab.system import LabError, command_environment, run

MINIMUM_FREE_BYTES = 2_000_000_000
# The tool, and the Debian package that has it.
TOOLS = (
    ("systemd-nspawn", "systemd-container"),
    ("losetup", "mount"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
)


def preflight(paths: LabPaths | None = None) -> list[str]:
    """Why no lab can be brought up here, each line with its fix; empty when nothing stands in the way."""
    places = paths or LabPaths()
    problems = [*_not_root(), *missing_tools(), *_no_cgroup2(), *_little_space(places)]
    if not problems:
        # These need the tools and the rights that the checks above found.
        problems = [*_no_squashfs(), *_no_overlay(places), *_taken_network()]
    return problems


def _not_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["not root: the lab makes namespaces and mounts; run the command with sudo"]


def missing_tools() -> list[str]:
    """The missing tools with the one command that installs them all; empty when none is missing."""
    search = command_environment()["PATH"]
    missing = [(tool, package) for tool, package in TOOLS if shutil.which(tool, path=search) is None]
    if not missing:
        return []
    packages = sorted({package for _, package in missing})
    return [f"{', '.join(tool for tool, _ in missing)} not found; run: apt-get install --yes {' '.join(packages)}"]


def _no_cgroup2() -> list[str]:
    if cgroup2_mount(Path("/proc/self/mountinfo").read_text(errors="replace")) is not None:
        return []
    fix = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    return [f"no cgroup2 file system is mounted; run: {fix}"]


def existing_parent(path: Path) -> Path:
    """path itself or its nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _little_space(paths: LabPaths) -> list[str]:
    problems = []
    for place, variable in ((paths.home, "CLUSTER_HOME"), (paths.cache, "CLUSTER_CACHE")):
        free = shutil.disk_usage(existing_parent(place)).free
        if free < MINIMUM_FREE_BYTES:
            need = f"{MINIMUM_FREE_BYTES / 1e9:.0f} GB"
            fix = f"free some or set {variable} elsewhere"
            problems.append(f"{place}: {free / 1e9:.1f} GB free, the lab needs {need}; {fix}")
    return problems


def _no_squashfs(known: Path = Path("/proc/filesystems")) -> list[str]:
    if "squashfs" not in known.read_text().split():
        try:
            run(["modprobe", "squashfs"])
        except LabError as error:
            return [f"this kernel mounts no squashfs, which the hosts' image is ({error}); take a kernel that does"]
    return []


def _no_overlay(paths: LabPaths) -> list[str]:
    parent = existing_parent(paths.home)
    trial = Path(tempfile.mkdtemp(prefix=".cluster-lab-trial-", dir=parent))
    try:
        for name in ("lower", "upper", "work", "root"):
            (trial / name).mkdir()
        options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(trial / "root")]
        run(["unshare", "--mount", "--propagation", "private", *mount])
    except LabError as error:
        fix = "run: modprobe overlay, or set CLUSTER_HOME to an ext4 or xfs disk"
        return [f"{parent}: overlayfs cannot use it ({error}); {fix}"]
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return []


def _taken_network() -> list[str]:
    found = foreign_routes(run(["ip", "-json", "-4", "route", "show"]).stdout)
    return [
        f"10.77.0.0/16 is the lab's network, but this machine routes {route}; remove that route first"
        for route in found
    ]
