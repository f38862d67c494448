"""Several facts of a host for the cost of one: a command each, one way there and back.

For facts that take moments; one that takes long holds up the others.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyinfra.api.exceptions import FactError
from pyinfra.api.facts import FactBase

_BEGIN = re.compile(r"##fact (\d+)")
_END = re.compile(r"##fact (\d+) ends")


class Together(FactBase[dict[str, dict[str, Any]]]):
    """Key -> {"value": ...} or {"error": why}, for `facts`: (key, dotted path of a fact, its arguments)."""

    def command(self, facts: Sequence[tuple[str, str, Mapping[str, Any]]]) -> str:
        self.asked: list[tuple[str, FactBase[Any] | None, str]] = []
        parts = ["echo together"]
        for place, (key, path, arguments) in enumerate(facts):
            try:
                module, _, name = path.rpartition(".")
                fact = getattr(importlib.import_module(module), name)()
                command = str(fact.command(**arguments))
            except Exception as error:  # whatever is wrong with one question, the others are asked
                self.asked.append((key, None, _why(error)))
                continue
            self.asked.append((key, fact, ""))
            parts.append(f"echo '##fact {place}'; ( {command}\n); printf '\\n##fact {place} ends\\n'")
        return "; ".join((*parts, "true"))

    def process(self, output: list[str]) -> dict[str, dict[str, Any]]:
        said = _parts(output)
        return {key: _answer(fact, why, said.get(place)) for place, (key, fact, why) in enumerate(self.asked)}


def _parts(output: list[str]) -> dict[int, list[str]]:
    """Output lines of each fact whose end is there, without the empty line in front of it."""
    found: dict[int, list[str]] = {}
    lines: list[str] = []
    at: int | None = None
    for line in output:
        if at is None:
            if begin := _BEGIN.fullmatch(line):
                at, lines = int(begin[1]), []
        elif (end := _END.fullmatch(line)) and int(end[1]) == at:
            found[at], at = lines[:-1] if lines and not lines[-1] else lines, None
        else:
            lines.append(line)
    return found


def _answer(fact: FactBase[Any] | None, why: str, lines: list[str] | None) -> dict[str, Any]:
    if fact is None:
        return {"error": why}
    if lines is None:
        return {"error": f"{fact.name}: no whole answer"}
    try:
        return {"value": fact.process(lines) if lines else fact.default()}
    except (FactError, ValueError) as error:
        return {"error": _why(error)}


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
