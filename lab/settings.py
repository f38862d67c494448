"""Settings of this machine's kernel that the lab needs while it is up; `down` puts the old values back.

What was there before is noted outside of the lab's home before anything is changed, so that it survives the
loss of that home.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.paths import LabPaths
from lab.system import read_json, write_whole

# Least values. Every host's root is one user to the kernel, and each host takes about six inotify instances:
# the usual
# 128 are used up by twenty hosts, whose systemd then cannot start.
NEEDED = {
    "/proc/sys/net/ipv4/ip_forward": 1,
    "/proc/sys/fs/inotify/max_user_instances": 4096,
}


def borrow(paths: LabPaths, needed: dict[str, int] | None = None) -> None:
    """Raise each setting to what is needed, and note what it was. A value that is enough is left alone."""
    before = dict(read_json(paths.settings_before) or {})
    for name, least in (NEEDED if needed is None else needed).items():
        file = Path(name)
        now = int(file.read_text())
        if now < least:
            before.setdefault(name, now)
            write_whole(paths.settings_before, json.dumps(before) + "\n")
            file.write_text(f"{least}\n")


def give_back(paths: LabPaths) -> None:
    """Put the noted values back; nothing noted, nothing done."""
    for name, value in (read_json(paths.settings_before) or {}).items():
        if isinstance(value, int):
            Path(name).write_text(f"{value}\n")
    paths.settings_before.unlink(missing_ok=True)
