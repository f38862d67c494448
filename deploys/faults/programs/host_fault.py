"""host-hang and host-crash: everything of a host stopped but its kernel and systemd, or the host rebooted at once.

Standard library only; systemd and cgroup2. Of what hangs, nothing answers and every port still takes connections. The
timer lies in a slice of its own, which goes on. A crash has no timer and needs none: the host boots, and that heals it.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.faults.programs import host_tools
from deploys.faults.programs.host_tools import FaultError

NAMES = ("host-hang", "host-crash")
# After the answer to whoever asked, whose connection hangs as well.
_ANSWER_SECONDS = 0.5
Note = Callable[[dict[str, Any]], None]


def group_root(mount_table: str) -> str:
    """Where /proc/self/mountinfo has cgroup2 mounted; "" for nowhere. Pure."""
    for line in mount_table.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[:1] == ["cgroup2"]:
            return before.split()[4]
    return ""


def inject(directory: str, order: dict[str, Any], note: Note, program: str) -> dict[str, Any]:
    """Have it happen just after this program has answered."""
    if not host_tools.has_systemd():
        raise FaultError(f"{order['name']}: systemd runs nothing here; this machine is the controller's own")
    if order["name"] == "host-crash":
        made = {"means": "reboot at once", "after_seconds": _ANSWER_SECONDS}
        note(made)
        words = ["/bin/sh", "-c", f"sleep {_ANSWER_SECONDS}; exec systemctl reboot --force --force"]
        host_tools.start(directory, order["name"], words, 30)
        return made
    if not groups():
        raise FaultError("host-hang: no cgroup2 with groups that could be frozen; is it mounted?")
    made = {"means": "cgroup.freeze", "after_seconds": _ANSWER_SECONDS}
    note(made)
    words = [sys.executable, program, directory, "freeze", f"{order['seconds']:g}"]
    host_tools.start(directory, order["name"], words, order["seconds"])
    return made


def freeze(seconds: float) -> int:
    """Freeze all groups but ours, from within ours, and thaw them at the deadline, which the timer may do before."""
    time.sleep(_ANSWER_SECONDS)
    deadline = time.monotonic() + seconds
    _write("1")
    while time.monotonic() < deadline:
        time.sleep(0.2)
    _write("0")
    return 0


def groups() -> list[Path]:
    """The groups below the root that a hang stops."""
    root = group_root(Path("/proc/self/mountinfo").read_text(errors="replace"))
    if not root:
        return []
    kept = ("init.scope", host_tools.SLICE)
    found = [Path(root, entry) for entry in os.listdir(root)]  # noqa: PTH208
    return sorted(one for one in found if one.name not in kept and (one / "cgroup.freeze").exists())


def heal(directory: str, record: dict[str, Any]) -> None:
    """Thaw; a crash is healed by the boot that it is."""
    if record["name"] == "host-hang":
        # First what is frozen: what ends a process may wait for it.
        _write("0")
        host_tools.stop(directory, record["name"])
        _write("0")


def traces(directory: str, name: str, _record: dict[str, Any] | None, _context: dict[str, Any]) -> list[str]:
    """Groups that are frozen now, and what would freeze them."""
    if name == "host-crash" or not host_tools.has_systemd():
        return []
    frozen = [one.name for one in groups() if (one / "cgroup.freeze").read_text().strip() == "1"]
    return [f"{one} is frozen" for one in frozen] + host_tools.running(directory, name)


def _write(word: str) -> None:
    for group in groups():
        (group / "cgroup.freeze").write_text(word + "\n")
