"""What the client's machine shows beside the load: steps of its clock, processor time taken by others or by a quota.

A thread looks four times a second while the load runs; the load's own event loop has no work from it. Reads /proc and
/sys. Unix seconds and shares.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.load.client import clock

PERIOD_SECONDS = 0.25
SYSTEM = Path("/")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Watched:
    """`wall` is the system's clock less the monotonic one at each look; shares are None where nothing says.

    `throttled` is of the time, `other_work` of all processors: what programs other than this process used.
    """

    wall_at: tuple[float, ...] = ()
    wall: tuple[float, ...] = ()
    throttled: float | None = None
    other_work: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class Watch:
    """Looks while a load runs; `wall` and `steady` are the clocks that are compared, in seconds."""

    def __init__(
        self,
        system: Path = SYSTEM,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system, self._wall, self._steady = system, wall, steady
        self._looks: list[tuple[float, float]] = []
        self._begun, self._used = steady(), time.process_time()
        self._busy, self._throttled = _busy_seconds(system), _throttled_seconds(system)

    def look(self) -> None:
        """Compare the clocks once."""
        before = self._steady()
        wall = self._wall()
        after = self._steady()
        # A thread that was put aside between the two readings compares nothing.
        if after - before < 0.01:
            self._looks.append((clock(), wall - (before + after) / 2))

    def watched(self) -> Watched:
        """Everything so far."""
        self.look()
        seconds = self._steady() - self._begun
        busy, throttled = _busy_seconds(self._system), _throttled_seconds(self._system)
        whole = seconds * (os.cpu_count() or 1)
        others = None
        if busy is not None and self._busy is not None and whole > 0:
            mine = time.process_time() - self._used
            others = min(max((busy - self._busy - mine) / whole, 0.0), 1.0)
        held = None
        if throttled is not None and self._throttled is not None and seconds > 0:
            held = (throttled - self._throttled) / seconds
        return Watched(tuple(at for at, _ in self._looks), tuple(value for _, value in self._looks), held, others)


@contextlib.contextmanager
def watching(watch: Watch | None = None) -> Iterator[Watch]:
    """Look while the block runs; then, or meanwhile, ask `watched()`."""
    watch = watch or Watch()
    stop = threading.Event()

    def look_on() -> None:
        while not stop.wait(PERIOD_SECONDS):
            watch.look()

    thread = threading.Thread(target=look_on, name="watch of the client's clock", daemon=True)
    watch.look()
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()


def _busy_seconds(system: Path) -> float | None:
    """Processor seconds that programs used since the boot (proc(5), /proc/stat: all but idle, iowait and steal)."""
    try:
        ticks = [int(word) for word in (system / "proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return None
    return sum(ticks[:3] + ticks[5:7]) / _TICKS if len(ticks) > 6 else None


def _throttled_seconds(system: Path) -> float | None:
    """Seconds that a quota held this process's group back, by either version of cgroups; None without a quota."""
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places = [system / "sys/fs/cgroup" / path.strip("/")]
        elif "cpu" in controllers.split(","):
            base = system / "sys/fs/cgroup"
            places = [base / name / path.strip("/") for name in (controllers, "cpu")]
        else:
            continue
        for place in places:
            with contextlib.suppress(OSError, ValueError):
                said = dict(entry.split() for entry in (place / "cpu.stat").read_text().splitlines())
                if "throttled_usec" in said:
                    return int(said["throttled_usec"]) / 1e6
                if "throttled_time" in said:
                    return int(said["throttled_time"]) / 1e9
    return None
