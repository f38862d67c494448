"""A conversation on a terminal: line editing, history, completion, a line of state, answers as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from rich.status import Status
from rich.text import Text

from cli import display
from cli.chat.screen import footer, harmless
from operate.chat.answer import Answer, Piece

Completions = Callable[[str], tuple[str, list[str]]]


class Terminal:
    """`state` gives the line below the prompt; `completions` what a text before the cursor could become."""

    ends_on_interrupt = False

    def __init__(self, history: History, completions: Completions, state: Callable[[], str]) -> None:
        self._console = display.results()
        self._status: Status | None = None
        self._thinking = self._written = False
        colourless = bool(os.environ.get("NO_COLOR") or os.environ.get("CLUSTER_NO_COLOR"))
        self._prompt: PromptSession[str] = PromptSession(
            history=history,
            completer=_Completer(completions),
            # Prose is not disturbed by proposals: they come by themselves after a slash, else with Tab.
            complete_while_typing=Condition(lambda: self._prompt.default_buffer.text.startswith("/")),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation="… ",
            bottom_toolbar=state,
            color_depth=ColorDepth.DEPTH_1_BIT if colourless else None,
        )

    def read(self) -> str:
        """What was typed or pasted; Enter sends it, Alt-Enter begins another line."""
        return self._prompt.prompt("> ")

    def begin(self) -> None:
        """Shows that it is being waited for."""
        self._thinking = self._written = False
        self._status = self._console.status(Text("waiting for the first token", style="dim"))
        self._status.start()

    def piece(self, piece: Piece) -> None:
        """Written as it comes, reasoning dimmed and apart from the answer."""
        self._rest()
        if self._thinking and not piece.thinking:
            self._write("\n\n")
        self._thinking = piece.thinking
        self._write(harmless(piece.text), dim=piece.thinking)

    def end(self, answer: Answer, who: str) -> None:
        """The footer, or the error."""
        self._rest()
        if self._written:
            self._write("\n")
        if answer.error:
            self.problem(answer.error)
        else:
            self._console.print(Text(harmless(footer(answer, who)), style="dim"), soft_wrap=False)
        self._write("\n")

    def say(self, text: str) -> None:
        """A line of the program's own."""
        self._console.print(Text(harmless(text)), soft_wrap=False)

    def problem(self, text: str) -> None:
        """A line in red."""
        self._console.print(Text(harmless(text), style="red"), soft_wrap=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Cells wrap at the terminal's edge."""
        display.table(title, columns, [[harmless(cell) for cell in row] for row in rows], console=self._console)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """A live line while it lasts."""
        with self._console.status(Text(text, style="dim")):
            yield

    def _rest(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def _write(self, text: str, *, dim: bool = False) -> None:
        sys.stdout.write(f"\x1b[2m{text}\x1b[0m" if dim else text)
        sys.stdout.flush()
        self._written = True


class _Completer(Completer):
    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed, values = self._completions(document.text_before_cursor)
        for value in values:
            yield Completion(value, start_position=-len(typed))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _another_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    @keys.add("<sigint>")
    def _take_back(event: KeyPressEvent) -> None:
        """As in a shell: what was typed goes away; KeyboardInterrupt only where nothing was."""
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys
