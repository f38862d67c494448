"""A host's processes as this machine sees them: the supervisor's identity, and the host's cgroup.

A host is one cgroup2 subtree, so power loss and hang are one write each. A supervisor is named by pid and
start time together: a pid that was given to another process is never taken for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.paths import LabPaths
from lab.system import LabError, read_json

GROUP = "cluster-lab"
POLL_SECONDS = 0.05
SETTLE_SECONDS = 10.0


def cgroup2_mount(mount_table: str) -> Path | None:
    """Where /proc/self/mountinfo says that cgroup2 is mounted; None when it is not. Pure."""
    for line in mount_table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if separator and after.split()[:1] == ["cgroup2"] and len(fields) > 4:
            return Path(fields[4])
    return None


def start_time_ticks(stat_text: str) -> int | None:
    """Start time in clock ticks from /proc/PID/stat; None for a process that has ended. Pure."""
    # The command's name is in parentheses and may hold blanks and parentheses itself.
    fields = stat_text.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def supervisor_pid(paths: LabPaths, name: str) -> int | None:
    """The pid of the host's supervisor when it lives, else None."""
    note = read_json(paths.host(name) / "supervisor.json") or {}
    pid, started = note.get("pid"), note.get("start_time_ticks")
    if not isinstance(pid, int) or not isinstance(started, int):
        return None
    try:
        found = start_time_ticks(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
    except OSError:
        return None
    return pid if found == started else None


def group_directory(name: str = "") -> Path:
    """The host's cgroup as this process sees it; without a name, the lab's. LabError without cgroup2."""
    mount = cgroup2_mount(Path("/proc/self/mountinfo").read_text(errors="replace"))
    if mount is None:
        raise LabError(
            "no cgroup2 file system is mounted;"
            " run: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
        )
    return mount / GROUP / name if name else mount / GROUP


def grouped_hosts() -> tuple[str, ...]:
    """Names of the hosts that have a cgroup now, living or not."""
    directory = group_directory()
    return tuple(sorted(path.name for path in directory.iterdir() if path.is_dir())) if directory.is_dir() else ()


def _events(name: str) -> dict[str, str]:
    try:
        text = (group_directory(name) / "cgroup.events").read_text()
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def is_populated(name: str) -> bool:
    """True while any process of the host exists."""
    return _events(name).get("populated") == "1"


def is_frozen(name: str) -> bool:
    """True while the host's processes are stopped by freeze."""
    return _events(name).get("frozen") == "1"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll condition until it holds; False when it did not within seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def freeze(name: str, frozen: bool) -> None:
    """Stop or continue every process of the host; returns when all did."""
    (group_directory(name) / "cgroup.freeze").write_text("1\n" if frozen else "0\n")
    if not wait_until(lambda: is_frozen(name) == frozen, SETTLE_SECONDS):
        raise LabError(f"{name}: not {'frozen' if frozen else 'thawed'} after {SETTLE_SECONDS:g} s; try again")


def kill(name: str) -> None:
    """End every process of the host at once, as a power loss does; returns when none is left."""
    directory = group_directory(name)
    if directory.is_dir() and is_populated(name):
        (directory / "cgroup.kill").write_text("1\n")
        if not wait_until(lambda: not is_populated(name), SETTLE_SECONDS):
            raise LabError(f"{name}: processes left {SETTLE_SECONDS:g} s after the kill; see {directory}/cgroup.procs")


def remove_group(name: str = "") -> None:
    """Remove the host's empty cgroup, or without a name the lab's."""
    directory = group_directory(name)
    if directory.is_dir():
        for path, _, _ in os.walk(directory, topdown=False):
            # A process that ended this moment may keep its group busy for an instant.
            wait_until(lambda: _removed(Path(path)), 2.0)  # noqa: B023 - called before the loop goes on


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _takes_requests(name: str) -> bool:
    # systemd makes this group for itself after it set up its signals: a request before that is lost.
    return any(group_directory(name).glob("guest/*/init.scope"))


def stop(paths: LabPaths, names: Iterable[str], deadline_seconds: float) -> tuple[str, ...]:
    """Power the hosts off in order, all at once; those not off by the deadline are killed and returned."""
    wanted = tuple(names)
    for name in wanted:
        if is_frozen(name):
            freeze(name, frozen=False)
        pid = supervisor_pid(paths, name)
        if pid is not None and _takes_requests(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        else:
            # Nobody takes an orderly request: no supervisor is left, or systemd has only begun to start.
            kill(name)
    wait_until(lambda: not any(is_populated(name) for name in wanted), deadline_seconds)
    forced = tuple(name for name in wanted if is_populated(name))
    for name in wanted:
        kill(name)
        remove_group(name)
    return forced
