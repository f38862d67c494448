"""Pressure with bounds, for hosts without stress-ng: cpu NUMBER PERCENT SECONDS, memory BYTES SECONDS,
disk PLACE BYTES SECONDS.

Standard library only. Each ends itself at its deadline. The file that is written has no name, so that nothing of it
stays however the program ends; the memory's owner is the first that the kernel would end.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import tempfile
import time
from pathlib import Path

_PERIOD_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20
_DIE_WITH_PARENT = 1


def cpu(processes: int, percent: float, deadline: float) -> None:
    """Keep this many processors busy for that part of every tenth of a second, until the monotonic deadline."""
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            _burn(percent / 100, deadline)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _burn(part: float, deadline: float) -> None:
    number = 1
    while (now := time.monotonic()) < deadline:
        while time.monotonic() < now + part * _PERIOD_SECONDS:
            for _ in range(1000):
                number = number * 1103515245 + 12345 & 0x7FFFFFFF
        time.sleep(max(now + _PERIOD_SECONDS - time.monotonic(), 0))


def memory(size_bytes: int, deadline: float) -> None:
    """Hold this much memory, every page written, until the deadline."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with mmap.mmap(-1, size_bytes) as held:
        page = mmap.PAGESIZE
        while time.monotonic() < deadline:
            for place in range(0, size_bytes, page):
                held[place] = 1
                if place % (page * 4096) == 0 and time.monotonic() >= deadline:
                    return
            time.sleep(min(1.0, max(deadline - time.monotonic(), 0)))


def disk(directory: str, size_bytes: int, deadline: float) -> None:
    """Write and flush a file of at most this size over and over, until the deadline."""
    block = os.urandom(_BLOCK_BYTES)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as stream:
        written = 0
        while time.monotonic() < deadline:
            if written + _BLOCK_BYTES > size_bytes:
                stream.seek(0)
                written = 0
            stream.write(block)
            os.fdatasync(stream.fileno())
            written += _BLOCK_BYTES


def main(words: list[str]) -> int:
    """Press until the deadline."""
    deadline = time.monotonic() + float(words[-1])
    if words[0] == "cpu":
        cpu(int(words[1]), float(words[2]), deadline)
    elif words[0] == "memory":
        memory(int(words[1]), deadline)
    else:
        disk(words[1], int(words[2]), deadline)
    return 0
