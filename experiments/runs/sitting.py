"""One sitting of a run: its phases, written down as they begin and end, however they end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from experiments.bundle.errors import BundleError
from experiments.bundle.journal import Journal
from operate.progress import Progress


class Sitting:
    """What is under way. `ended` are the phases that came to their end, earlier sittings' too."""

    def __init__(self, journal: Journal, progress: Progress, ended: frozenset[str] = frozenset()) -> None:
        self.journal, self.progress = journal, progress
        self.ended = set(ended)

    @contextlib.contextmanager
    def phase(self, name: str, says: str) -> Iterator[None]:
        """A phase; an interruption and a failure are written down with what was under way, and go on."""
        self.journal.add("phase", phase=name, state="began")
        try:
            self.progress.phase(says)
            yield
        except BaseException as error:
            self.stopped(name, error)
            raise
        self.journal.add("phase", phase=name, state="ended")
        self.ended.add(name)

    def stopped(self, phase: str, error: BaseException) -> None:
        """The run ends here; a disk that takes no more takes no word of it either."""
        interrupted = isinstance(error, KeyboardInterrupt)
        with contextlib.suppress(BundleError):
            why = "interrupted" if interrupted else " ".join(f"{error}".split()) or type(error).__name__
            self.journal.add("stopped", phase=phase, state="interrupted" if interrupted else "failed", why=why)

    def note(self, text: str, **data: Any) -> None:
        """Something to know of this run that is no failure."""
        self.journal.add("note", text=text, **data)
        self.progress.note(text)


@contextlib.contextmanager
def stops() -> Iterator[None]:
    """SIGTERM and a lost terminal end a run as Ctrl-C does: with a readable bundle."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
