"""Takes out of a tree what differs between two builds, and what belongs to the machine that built it.

Works on a directory that nothing is mounted in. Dates are seconds since the epoch.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from images import contents

# Relative to the tree's root; patterns of pathlib. What they match is removed, directories with what is in them.
REMOVED = (
    "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "root/.cache",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*",
    "var/lib/apt/periodic/*",
    "var/lib/dbus/machine-id",
    "var/lib/dkms/*/*/*/*/log",
    "var/lib/dkms/mok.*",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/random-seed",
    "boot/*",
    "initrd.img*",
    "run/*",
    "tmp/*",
    "vmlinuz*",
)
# A file of a package says when it was made; these are in every package and never excluded.
_DATED = "usr/share/doc/*/copyright"
_DAY_SECONDS = 86400


def date_of(root: Path) -> int:
    """The image's own date: that of its newest package. It depends on the packages and on nothing else."""
    return max(int(path.lstat().st_mtime) for path in root.glob(_DATED) if path.is_file() and not path.is_symlink())


def scrub(root: Path) -> None:
    """Remove keys, identities, logs, caches and how this machine reaches its mirrors."""
    for pattern in REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for log in (root / "var/log").rglob("*"):
        if not log.is_dir():
            log.unlink()  # the directories stay: programs want theirs
    (root / "etc/machine-id").write_text("")
    for tree in ("etc", "var"):
        # Tells systemd that the packages' scripts have run: else every boot would make users and catalogues again.
        (root / tree / ".updated").write_text("")
    (root / "etc/apt/sources.list").write_text(contents.APT_SOURCES)
    for source in (root / "etc/apt/sources.list.d").glob("0000*"):
        source.unlink()  # mmdebstrap's, with this machine's mirrors
    # mmdebstrap makes the root for its builder only; a host's / must be open to all of its users.
    root.chmod(0o755)


def settle_times(root: Path, date: int) -> None:
    """Nothing in the tree is newer than date: what the build wrote gets it, what packages brought keeps its own."""
    shadow = root / "etc/shadow"
    lines = [line.split(":") for line in shadow.read_text().splitlines()]
    for fields in lines:
        fields[2] = str(date // _DAY_SECONDS)
    shadow.write_text("".join(":".join(fields) + "\n" for fields in lines))
    for directory, names, files in os.walk(root):
        for name in (*names, *files, "."):
            path = os.path.join(directory, name)  # noqa: PTH118 (a hundred thousand of them)
            if os.lstat(path).st_mtime > date:
                os.utime(path, (date, date), follow_symlinks=False)
