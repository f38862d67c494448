"""One changing command at a time, and one lab a machine.

The namespaces, addresses and cgroups have fixed names, so both the lock and the mark of the lab's owner are
machine-wide. The kernel frees the lock when its holder ends, however that happens.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.paths import LabPaths
from lab.system import LabError, write_whole

WAIT_SECONDS = 5.0
POLL_SECONDS = 0.1


@contextmanager
def exclusive(paths: LabPaths, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lab's lock. LabError names the holder's pid when it is not free within wait_seconds."""
    paths.lock_file.parent.mkdir(parents=True, exist_ok=True)
    # Opened close-on-exec (Python's default): a host's supervisor must not inherit the lock and hold it for
    # its lifetime.
    descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    raise LabError(f"another cluster lab command (pid {holder}) is running") from error
                time.sleep(POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        # The file stays: to remove a lock file that another process may have open lets two holders in.
        os.close(descriptor)


def owner(paths: LabPaths) -> Path | None:
    """The home of the lab that claimed this machine; None when none did."""
    try:
        text = paths.owner_file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return Path(text) if text else None


def check_owner(paths: LabPaths, something_is_up: bool) -> None:
    """LabError when another home's lab is up.

    A home that is gone has no say: its remains are there to be cleaned.
    """
    other = owner(paths)
    if something_is_up and other is not None and other != paths.home and other.exists():
        fix = f"stop that one first (its CLUSTER_HOME is {other.parent})"
        raise LabError(f"the lab of {other} is up on this machine; {fix}")


def claim(paths: LabPaths) -> None:
    """Mark this home's lab as the machine's."""
    write_whole(paths.owner_file, f"{paths.home}\n")


def release(paths: LabPaths) -> None:
    """Take the mark away, when nothing of the lab is left."""
    paths.owner_file.unlink(missing_ok=True)
