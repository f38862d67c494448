"""Where a conversation is shown and read: a pipe or a plain terminal here, a comfortable terminal in terminal.py."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from rich.text import Text

from cli import display
from cli.chat import keys
from operate.chat.answer import STOPPED, Answer, Piece

# What a model writes is shown, not obeyed: an escape sequence could rename, clear or answer for the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Screen(Protocol):
    """What a session needs of it."""

    ends_on_interrupt: bool

    def read(self) -> str:
        """The next line; EOFError at the end, KeyboardInterrupt for Ctrl-C."""

    def begin(self) -> None:
        """A question was sent."""

    def piece(self, piece: Piece) -> None:
        """A piece of the answer arrived."""

    def end(self, answer: Answer, who: str) -> None:
        """The answer is over, one way or another."""

    def say(self, text: str) -> None:
        """Result of a command, or a hint."""

    def problem(self, text: str) -> None:
        """One line about what went wrong."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Result of a command."""

    def busy(self, text: str) -> AbstractContextManager[None]:
        """A block that takes a while."""


def harmless(text: str) -> str:
    """Text for a terminal: line ends and tabs stay, control characters become visible."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", ""))


def footer(answer: Answer, who: str) -> str:
    """Who answered, and how fast; how it ended when it did not end by itself."""
    parts = [f"answered by {who}"]
    if answer.replica:
        parts.append(f"replica {answer.replica}")
    if answer.model:
        parts.append(answer.model)
    if answer.ttft_seconds is not None:
        parts.append(f"first token {answer.ttft_seconds:.2f} s")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.1f} tokens/s")
    parts.append(f"{answer.completion_tokens} token{'s' * (answer.completion_tokens != 1)}")
    if answer.finish_reason == STOPPED:
        parts.append("stopped by you")
    elif answer.finish_reason == "length":
        parts.append("cut off at the greatest length, see `max-tokens`")
    return " · ".join(parts)


class Plain:
    """Answers on stdout, everything about them on stderr. With `as_json` one object a line, and nothing else there."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._asks = sys.stdin.isatty()
        self._terminal = sys.stdout.isatty()
        self._at_start = True
        self._unseen = ExitStack()
        self.ends_on_interrupt = not self._asks
        self._results = display.words() if as_json else display.results()
        for stream in (sys.stdin, sys.stdout):
            # A byte that is no character, in a file that is fed in, is no reason to lose all the questions after it.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")

    def read(self) -> str:
        """A line of stdin, with a prompt where somebody sits there."""
        if self._asks:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    def begin(self) -> None:
        """Nothing is shown while it is waited for, nor what is typed meanwhile."""
        self._at_start = True
        if self._asks:
            self._unseen.enter_context(keys.unseen())

    def piece(self, piece: Piece) -> None:
        """Written as it comes; reasoning is not part of the answer."""
        if self._as_json or piece.thinking:
            return
        sys.stdout.write(harmless(piece.text) if self._terminal else piece.text)
        sys.stdout.flush()
        self._at_start = piece.text.endswith("\n")

    def end(self, answer: Answer, who: str) -> None:
        """The footer, or the error, on stderr."""
        self._unseen.close()
        if self._as_json:
            sys.stdout.write(json.dumps(answer.to_json(), ensure_ascii=False) + "\n")
        elif not self._at_start or not (answer.answer or answer.error):
            sys.stdout.write("\n")  # an empty answer is a line too
        sys.stdout.flush()
        self._at_start = True
        if answer.error:
            self.problem(answer.error)
        elif not self._as_json:
            display.words().print(Text(harmless(footer(answer, who)), style="dim"))

    def say(self, text: str) -> None:
        """Among the results."""
        self._results.print(Text(harmless(text)))

    def problem(self, text: str) -> None:
        """On stderr, in the words of every command's errors."""
        display.words().print(Text(f"cluster: {harmless(text)}", style="red"))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Among the results."""
        display.table(title, columns, [[harmless(cell) for cell in row] for row in rows], console=self._results)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """A line on stderr while it lasts."""
        with display.progress() as progress:
            progress.phase(text)
            yield
