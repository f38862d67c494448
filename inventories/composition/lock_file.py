"""A lock file of the operator's machine: one holder at a time, whose name is in it while it has the lock.

The kernel frees the lock when its holder ends, however that happens, and the file stays. OSError where it cannot be.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, what: str, taken: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock. Where another process has it, `taken` gets that one's words: it raises, or the wait begins."""
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            taken(lock.read().strip() or "another process")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()} ({what})")
        lock.flush()
        try:
            yield
        finally:
            lock.seek(0)
            lock.truncate()
