"""What an operation says while it works. Whoever starts it shows that: a terminal, a log, nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Told of what is under way; a method returns at once and never raises."""

    def phase(self, text: str) -> None:
        """A new phase; the last one is done."""

    def note(self, text: str) -> None:
        """Something said within the phase."""

    def event(self, kind: str, text: str) -> None:
        """A listener for operate.runner.deploy: kinds are `operation`, `host` and `note`."""


def phases(progress: Progress) -> Callable[[str, str], None]:
    """A listener for what tells of phases and details: a new phase begins a line, a detail is said within it."""
    last = [""]

    def hear(phase: str, detail: str) -> None:
        if phase != last[0]:
            progress.phase(phase)
            last[0] = phase
        progress.note(detail)

    return hear
