"""`cluster chat` on a pseudo-terminal, as a program: typed, pasted, interrupted, left.

The server stands for gateway and engine.
"""

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
from collections.abc import Iterator

import pytest

from tests.openai_server import OpenAiServer, Place, Reply, answer, chat_command, chunk, endless, refusal

# Generous: what is tested is the order of things, and the machine may be busy.
SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
INTERRUPT, END, ENTER, ALT_ENTER, UP = "\x03", "\x04", "\r", "\x1b\r", "\x1b[A"
HINT = "`quit` or Ctrl-D leaves"


class Session:
    """A program on a terminal of its own; `seen` is all that it wrote, without escape sequences."""

    def __init__(self, place: Place, *options: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            chat_command(place, *options),
            env=place.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # the terminal's Ctrl-C is for this program
        )
        os.close(slave)
        self._raw = b""
        self._at = 0

    @property
    def seen(self) -> str:
        return _ESCAPES.sub("", self._raw.decode(errors="replace")).replace("\r", "")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` is there after what was expected last; what came before it."""
        deadline = time.monotonic() + SECONDS
        while (found := self.seen.find(text, self._at)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown within {SECONDS:.0f} s: {self.seen[self._at :]!r}"
            assert self._read(left) or text in self.seen[self._at :], f"ended without {text!r}: {self.seen!r}"
        before, self._at = self.seen[self._at : found], found + len(text)
        return before

    def prompt(self) -> None:
        """Wait until a line can be typed: the state below the prompt is drawn then."""
        self.expect("· help, quit")

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


@pytest.fixture
def terminal(place: Place) -> Iterator[Session]:
    session = Session(place)
    try:
        session.prompt()
        yield session
    finally:
        session.close()


def test_a_conversation(terminal: Session, server: OpenAiServer, place: Place) -> None:
    """Ask, stop an answer, go on, take a line back, be told how to leave, leave: one session, as it goes."""
    server.replies.extend([answer("Paris."), Reply(endless()), answer("Rome."), refusal(429, "busy", retry_after="4")])
    terminal.type("France?" + ENTER)
    terminal.expect("Paris.\n")
    terminal.expect("answered by Worker Node #1: worker1, 127.0.6.11 · replica abc123")
    terminal.prompt()

    # Ctrl-C in mid-answer stops the answer: the engine is told, what came is kept, the session goes on.
    terminal.type("Go on" + ENTER)
    terminal.expect("word3 ")
    terminal.type(INTERRUPT)
    terminal.expect("stopped by you")
    assert server.left.wait(SECONDS)
    terminal.prompt()
    terminal.type("Italy?" + ENTER)
    terminal.expect("Rome.\n")
    terminal.prompt()
    roles = [message["role"] for message in server.asked[2]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert server.asked[2]["messages"][3]["content"].startswith("word0 word1 word2 word3 ")

    terminal.type("Spain?" + ENTER)
    terminal.expect("too many requests (429: busy); ask again in 4 s")
    terminal.prompt()

    # Ctrl-C takes back what was typed; on an empty line it says how to leave, and does not.
    terminal.type("half a line" + INTERRUPT + INTERRUPT)
    terminal.expect(HINT)
    terminal.prompt()
    terminal.type("new" + ENTER)
    terminal.expect("another conversation begins")
    terminal.prompt()

    # Several lines are one question, pasted or with Alt-Enter.
    terminal.type("\x1b[200~first\nsecond\x1b[201~" + ALT_ENTER + "third" + ENTER)
    terminal.expect("is Paris.\n")
    terminal.prompt()
    assert server.asked[-1]["messages"] == [{"role": "user", "content": "first\nsecond\nthird"}]

    # After a slash the commands are proposed as one types, and Tab takes the first.
    terminal.type("/he")
    terminal.expect("/help")
    terminal.type("\t" + ENTER)
    terminal.expect("Anything else is sent to the model")
    terminal.prompt()
    terminal.type(END)
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen

    history = place.home / "chat-history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "+France?" in history.read_text().splitlines()


def test_ctrl_c_before_the_first_token(terminal: Session, server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("", role="assistant"), 30.0, b"", chunk("late")]))
    terminal.type("France?" + ENTER)
    terminal.expect("waiting for the first token")
    deadline = time.monotonic() + SECONDS
    while not server.asked:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)
    terminal.type(INTERRUPT)
    terminal.expect("stopped by you")
    terminal.prompt()
    terminal.type("exit" + ENTER)
    assert terminal.end() == 0


def test_a_connection_that_breaks_and_escape_sequences_of_a_model(terminal: Session, server: OpenAiServer) -> None:
    server.replies.extend([Reply([chunk("The \x1b]0;owned\x07ca")], cut=True), answer("Paris.")])
    terminal.type("France?" + ENTER)
    terminal.expect("The \N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}ca\n")
    terminal.expect("the connection broke in mid-answer, after about 1 tokens")
    terminal.prompt()
    terminal.type(UP + ENTER)
    terminal.expect("Paris.\n")
    terminal.prompt()
    assert [body["messages"][0]["content"] for body in server.asked] == ["France?", "France?"]


def test_a_terminal_that_goes_away(terminal: Session, server: OpenAiServer) -> None:
    server.replies.append(Reply(endless()))
    terminal.type("Go on" + ENTER)
    terminal.expect("word1 ")
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.end() == 128 + signal.SIGHUP
    assert server.left.wait(SECONDS)


def test_plain_on_a_terminal(place: Place, server: OpenAiServer) -> None:
    session = Session(place, "--plain")
    server.replies.append(Reply(endless()))
    try:
        session.expect("> ")
        session.type("Go on\n")
        session.expect("word1 ")
        session.type(INTERRUPT)
        session.expect("stopped by you")
        session.expect("> ")
        session.type(INTERRUPT)
        session.expect(HINT)
        session.expect("> ")
        session.type("France?\n")
        session.expect("is Paris.\n")
        session.type(END)
        assert session.end() == 0
    finally:
        session.close()


def test_a_history_that_cannot_be_kept(place: Place, server: OpenAiServer) -> None:
    place.home.write_text("not a directory")
    session = Session(place)
    try:
        session.expect("what you type is not kept")
        session.prompt()
        session.type("quit" + ENTER)
        assert session.end() == 0
    finally:
        session.close()
