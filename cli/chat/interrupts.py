"""Ctrl-C ends what may be ended, and nothing else: between two steps of a session it has nothing to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Signals of a session, main thread only. As a context manager it gives back the handlers that it found."""

    def __init__(self) -> None:
        self._stoppable = self._held = self._pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        # A terminal that is closed, or a polite kill: leave through every `finally`, which takes an SSH forward away.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is granted
                self._before[number] = signal.signal(number, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Within, Ctrl-C raises KeyboardInterrupt, once; the block that it ends may then clean up undisturbed."""
        self._pending = False
        self._stoppable = True
        try:
            yield
        finally:
            self._stoppable = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, a Ctrl-C waits for the end of the block: half a write would leave the terminal in disorder."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pending and self._stoppable:
                self._interrupt(signal.SIGINT, None)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._held:
            self._pending = True
        elif self._stoppable:
            self._stoppable = self._pending = False
            raise KeyboardInterrupt


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
