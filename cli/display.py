"""What the operator sees. Progress and words go to stderr, results to stdout, so that --json is nothing but JSON.

rich takes longer to load than most commands take to run: it is loaded where something is shown, and for `--json` not.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from facts.health.result import CheckResult

if TYPE_CHECKING:
    from rich.console import Console

_HEARTBEAT_SECONDS = 15.0


def _console(stream: Any) -> Console:
    from rich.console import Console

    no_colour = bool(os.environ.get("NO_COLOR") or os.environ.get("CLUSTER_NO_COLOR"))
    return Console(file=stream, no_color=no_colour, highlight=False, soft_wrap=True)


def words() -> Console:
    """For progress and words."""
    return _console(sys.stderr)


def results() -> Console:
    """For what was asked for."""
    return _console(sys.stdout)


def emit(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=lambda entry: entry.to_json()) + "\n")


class Progress:
    """One line for what is under way, with the time it takes; a line that stays for what is done.

    On a terminal the line is alive; elsewhere a line is printed when a phase begins, and again while it lasts.
    """

    def __init__(self) -> None:
        self._console = words() if sys.stderr.isatty() else None
        self._status = self._console.status("") if self._console else None
        self._phase, self._since, self._note = "", time.monotonic(), ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        self._thread.start()
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._stop.set()
        self._thread.join(timeout=2)
        if self._status:
            self._status.stop()
        if kind is None:
            self._finish()

    def phase(self, text: str) -> None:
        """A new phase; the last one is done."""
        self._finish()
        self._phase, self._since, self._note = text, time.monotonic(), ""
        if not self._status:
            self._say(f"  … {text}")

    def note(self, text: str) -> None:
        """Something said within the phase."""
        self._note = text
        if not self._status:
            self._say(f"    {text}")

    def event(self, kind: str, text: str) -> None:
        """A listener for operate.runner.deploy: one line an operation, with the hosts that changed."""
        if kind == "operation":
            self.phase(shorten(text))
        elif kind == "note":
            self.note(text)

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _finish(self) -> None:
        if self._phase:
            seconds = time.monotonic() - self._since
            took = f" ({seconds:.0f} s)" if seconds >= 1 else ""
            if self._console:
                from rich.text import Text

                self._console.print(Text.assemble(("  ✓ ", "green"), f"{self._phase}{took}"))
            elif seconds >= 3:
                self._say(f"  ✓ {self._phase}{took}")
        self._phase = ""

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(0.25):
            if not self._phase:
                continue
            seconds = time.monotonic() - self._since
            if self._status:
                from rich.text import Text

                note = f" · {self._note}" if self._note else ""
                self._status.update(Text(f"{self._phase} · {seconds:.0f} s{note}"))
            elif time.monotonic() - last > _HEARTBEAT_SECONDS and seconds > _HEARTBEAT_SECONDS:
                last = time.monotonic()
                self._say(f"    {self._phase}: {seconds:.0f} s so far")


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 5 min, 3 h, 2 d."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def shorten(operation: str) -> str:
    """One name for an operation that pyinfra lists once for every host."""
    names = [re.sub(r"^[^|]*\| ", "", name).strip() for name in operation.split(", ")]
    if len(names) == 1:
        return names[0]
    first, second = names[0].split(" "), names[1].split(" ")
    common = [a for a, b in zip(first, second, strict=False) if a == b]
    return f"{' '.join(common)} ({len(names)} hosts)" if common else names[0]


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress for the length of a block."""
    with Progress() as shown:
        yield shown


def checks_table(checks: Sequence[CheckResult], *, only_problems: bool = False) -> None:
    """Checks as a table, problems first in view: each with its detail and its remedy."""
    from rich.text import Text

    console = results()
    marks = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
    for check in checks:
        if only_problems and check.ok:
            continue
        mark, colour = marks[check.ok]
        console.print(Text.assemble((f"{mark} ", colour), check.detail))
        if check.remedy and check.ok is not True:
            console.print(Text(f"    → {check.remedy}", style="dim"))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console | None = None) -> None:
    """A plain table, among the results unless another console is given; see cli/tables.py."""
    from cli import tables

    tables.show(console or results(), title, columns, rows)


def page(text: str) -> None:
    """A page of Markdown: laid out on a terminal, as it was written elsewhere."""
    console = results()
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(text), soft_wrap=False)
    else:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
