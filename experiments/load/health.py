"""How well the client itself kept up: whether its figures are the server's or its own. Seconds and shares.

Reads /proc and /sys of the machine that sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD_SECONDS = 0.01
SYSTEM = Path("/")


@dataclass(frozen=True)
class ClientHealth:
    """`loop_lag`: how late a timer of every 10 ms came. `send_lag`: from due to sent, of each request of an open loop.

    `loop_lag_at` and `send_lag_at` are the unix seconds of each sample. `steal`: share of the processors' time that the
    hypervisor took. `processor`: of one processor, what this process used. `governor`: of the processors' frequency,
    all kinds that there are, "" where the machine has none. `not_sent`: due, but the load was stopped before.
    """

    loop_lag: tuple[float, ...] = ()
    loop_lag_at: tuple[float, ...] = ()
    send_lag: tuple[float, ...] = ()
    send_lag_at: tuple[float, ...] = ()
    steal: float = 0.0
    processor: float = 0.0
    governor: str = ""
    not_sent: int = 0


def joined(parts: Sequence[ClientHealth]) -> ClientHealth:
    """Several runs as one: all samples, and the worst of the shares."""
    return ClientHealth(
        loop_lag=tuple(value for part in parts for value in part.loop_lag),
        loop_lag_at=tuple(value for part in parts for value in part.loop_lag_at),
        send_lag=tuple(value for part in parts for value in part.send_lag),
        send_lag_at=tuple(value for part in parts for value in part.send_lag_at),
        steal=max((part.steal for part in parts), default=0.0),
        processor=max((part.processor for part in parts), default=0.0),
        governor=", ".join(sorted({part.governor for part in parts} - {""})),
        not_sent=sum(part.not_sent for part in parts),
    )


class Watch:
    """Samples while a load runs."""

    def __init__(self, system: Path = SYSTEM) -> None:
        self.not_sent = 0
        self._system = system
        self._send: list[tuple[float, float]] = []
        self._loop: list[tuple[float, float]] = []
        self._begun, self._used = time.monotonic(), time.process_time()
        self._stolen = _steal_and_all(system)

    def sent(self, at: float, lag: float) -> None:
        """A request went out at that unix time, so long after it was due."""
        self._send.append((at, lag))

    @contextlib.contextmanager
    def running(self, anchor: float) -> Iterator[Watch]:
        """Look at the loop's own lateness while the block runs; `anchor` is unix time less the loop's."""
        loop = asyncio.get_running_loop()

        def tick(due: float) -> None:
            now = loop.time()
            self._loop.append((anchor + now, max(now - due, 0.0)))
            # From now on, not from when it was due: a loop that stood still is late once, not a hundred times.
            self._timer = loop.call_at(now + PERIOD_SECONDS, tick, now + PERIOD_SECONDS)

        self._timer = loop.call_later(PERIOD_SECONDS, tick, loop.time() + PERIOD_SECONDS)
        try:
            yield self
        finally:
            self._timer.cancel()

    def health(self) -> ClientHealth:
        """Everything so far."""
        stolen, whole = (now - before for now, before in zip(_steal_and_all(self._system), self._stolen, strict=True))
        seconds = time.monotonic() - self._begun
        return ClientHealth(
            loop_lag=tuple(lag for _, lag in self._loop),
            loop_lag_at=tuple(at for at, _ in self._loop),
            send_lag=tuple(lag for _, lag in self._send),
            send_lag_at=tuple(at for at, _ in self._send),
            steal=stolen / whole if whole else 0.0,
            processor=(time.process_time() - self._used) / seconds if seconds else 0.0,
            governor=governor(self._system),
            not_sent=self.not_sent,
        )


def governor(system: Path = SYSTEM) -> str:
    """What chooses the processors' frequency: "performance", "powersave, schedutil", "" where nothing says."""
    found = set()
    for path in system.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().strip())
    return ", ".join(sorted(found))


def _steal_and_all(system: Path) -> tuple[int, int]:
    """Ticks that the hypervisor took, and all ticks, of all processors since the boot (proc(5), /proc/stat)."""
    try:
        ticks = [int(word) for word in (system / "proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return 0, 0
    # guest and guest_nice are in user and nice already.
    return (ticks[7] if len(ticks) > 7 else 0), sum(ticks[:8])
