"""Keys typed while an answer streams are not echoed into it: they wait, and stand in the next line that is read."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:  # no such terminals there
    termios = None  # type: ignore[assignment]


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Standard input's terminal without echo; signals such as Ctrl-C go on. Nothing where it is no terminal."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor) if termios and os.isatty(descriptor) else None
    except (OSError, ValueError):
        before = None
    if before is None:
        yield
        return
    quiet = [*before[:3], int(before[3]) & ~(termios.ECHO | termios.ECHONL), *before[4:]]
    termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
