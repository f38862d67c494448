"""An event loop whose timers are exact to microseconds, for any number of connections.

epoll waits whole milliseconds, so that a request would be sent up to one too late. An epoll is itself a descriptor on
which select, which waits microseconds, can wait: so it is asked only when something is there or the time has come.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class PreciseSelector(selectors.EpollSelector):
    """epoll, with timeouts in microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; waits `timeout` seconds at most, without end for None."""
        if timeout is None or timeout > 0:
            # Made before any connection, so its number is below the 1024 that select can take.
            select.select([self.fileno()], [], [], timeout)
        return super().select(0)


def precise_loop() -> asyncio.AbstractEventLoop:
    """A new loop; the caller closes it."""
    return asyncio.SelectorEventLoop(PreciseSelector())


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """asyncio.run, on a precise loop: for whatever sends load."""
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(work)
