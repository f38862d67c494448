"""Ends of log files, as `facts.logs` has them shown. Pure; ValueError for output that is cut off."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.report import Report
from facts.parse.sections import parse_sections

REPLICAS = "tail:replicas"

# What a program wrote for a terminal: colours, titles, a cursor that moves. ECMA-48, 5.4 and 5.6.
_TERMINAL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[ -/]*[0-~])")
# The title that `tail -v` prints before each file.
_TITLE = re.compile(r"==> (.*) <==")


@dataclass(frozen=True)
class LogTail(Report):
    """The last lines of one log; `source` is the service, or the replica's file without its ending."""

    source: str
    lines: tuple[str, ...]


def parse_logs(output: Iterable[str]) -> list[LogTail]:
    """Services in the order asked, then replicas, the one that wrote last first. A log that cannot be read says why."""
    tails = []
    for name, section in parse_sections(output).items():
        if name == REPLICAS:
            tails += _files(section.lines)
        else:
            source = name.partition(":")[2]
            said = tuple(map(plain, section.lines)) if section.succeeded else (section.failure,)
            tails.append(LogTail(source, said))
    return tails


def plain(line: str) -> str:
    """A line as it is read where nothing obeys: without escape sequences, and of a line that was written over the last
    state."""
    return _TERMINAL.sub("", line).rstrip("\r").rpartition("\r")[2]


def _files(lines: Iterable[str]) -> list[LogTail]:
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        title = _TITLE.fullmatch(line)
        if title:
            found.append((title[1].rpartition("/")[2].removesuffix(".log"), []))
        elif found and line.strip():
            found[-1][1].append(plain(line))
    return [LogTail(source, tuple(said)) for source, said in found]
