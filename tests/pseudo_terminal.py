"""A terminal without a screen: types to a program, reads what it shows, and answers where the cursor is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable

# Generous: what is tested is the order of things, and the machine may be busy.
SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
INTERRUPT, END, ENTER, ALT_ENTER, UP = "\x03", "\x04", "\r", "\x1b\r", "\x1b[A"


def _at_this_terminal() -> None:
    """In the child: the terminal's Ctrl-C is for it, and is not ignored as it is for what runs in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class PseudoTerminal:
    """A program on a terminal of its own; `seen` is all that it wrote, without escape sequences."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            command,
            # Whoever runs the tests may have said how wide their own terminal is.
            env={name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_at_this_terminal,
        )
        os.close(slave)
        self._raw = b""
        self._at = 0

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seen(self) -> str:
        return _ESCAPES.sub("", self._raw.decode(errors="replace")).replace("\r", "")

    def type(self, text: str) -> None:
        self.type_bytes(text.encode())

    def type_bytes(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def expect(self, text: str) -> str:
        """Wait until `text` is there after what was expected last; what came before it."""
        self.wait(lambda seen: text in seen, repr(text))
        found = self.seen.index(text, self._at)
        before, self._at = self.seen[self._at : found], found + len(text)
        return before

    def wait(self, there: Callable[[str], bool], what: str) -> None:
        """Wait until it is there in what was written after what was expected last."""
        deadline = time.monotonic() + SECONDS
        while not there(self.seen[self._at :]):
            left = deadline - time.monotonic()
            assert left > 0, f"no {what} within {SECONDS:.0f} s: {self.seen[self._at :]!r}"
            assert self._read(left) or there(self.seen[self._at :]), f"it ended without {what}: {self.seen!r}"

    def end(self) -> int:
        """Exit status, once it has left by itself."""
        while self._read(SECONDS):
            pass
        return self.process.wait(timeout=SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            received = os.read(self._master, 65536)
            self._raw += received
            # A terminal says where its cursor is when it is asked; the lines below the prompt wait for it.
            self.type("\x1b[1;1R" * received.count(b"\x1b[6n"))
            return bool(received)
        return False
