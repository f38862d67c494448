"""Reads the sections that `facts.commands` writes. Pure.

##begin NAME
...lines of the command's output...
##end NAME STATUS      STATUS: an exit status, or `missing` when the program is not installed
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BEGIN = re.compile(r"##begin (\S+)")
_END = re.compile(r"##end (\S+) ([0-9]{1,3}|missing)")
TIMED_OUT_STATUS = 124


@dataclass(frozen=True)
class Section:
    """One command's output. `status` is its exit status, None when the program is missing."""

    name: str
    status: int | None
    lines: tuple[str, ...]

    @property
    def missing(self) -> bool:
        return self.status is None

    @property
    def succeeded(self) -> bool:
        return self.status == 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def failure(self) -> str:
        """One line for a message: what the program said, or why it said nothing.

        The program is the section's name up to a colon ("amd-smi:static").
        """
        program = self.name.partition(":")[0]
        if self.missing:
            return f"{program} is not installed"
        if self.status == TIMED_OUT_STATUS:
            return f"{program} did not answer in time"
        said = " ".join(line.strip() for line in self.lines if line.strip())[:300]
        return f"{program} exited {self.status}: {said or 'no output'}"


def parse_sections(output: Iterable[str], *expected: str) -> dict[str, Section]:
    """All sections by name; each of `expected` is there.

    Raises `ValueError` when a section does not end (truncated output), or an expected one is absent.
    """
    found: dict[str, Section] = {}
    name: str | None = None
    lines: list[str] = []
    for line in output:
        begin, end = _BEGIN.fullmatch(line.strip()), _END.fullmatch(line.strip())
        if begin and name is None:
            name, lines = begin.group(1), []
        elif end and name is not None and end.group(1) == name:
            while lines and not lines[-1].strip():
                lines.pop()
            status = None if end.group(2) == "missing" else int(end.group(2))
            found[name] = Section(name, status, tuple(lines))
            name = None
        elif name is not None:
            lines.append(line)
    if name is not None:
        raise ValueError(f"section {name}: no end line after {len(lines)} lines; the output is truncated")
    for wanted in expected:
        if wanted not in found:
            raise ValueError(f"section {wanted} is absent; found: {', '.join(found) or 'none'}")
    return found
