"""Lines of logs with their time, unit and replica, whoever wrote them. Pure; standard library only; unix seconds."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

MESSAGE_CHARACTERS = 4_000
# What a program wrote for a terminal (ECMA-48, 5.4).
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Ray and Python: 2026-11-30 14:22:11,123, maybe in brackets, behind a level or a process; vLLM leaves the year out.
_FULL = re.compile(r"(?:^|[\s\[(])(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?")
_SHORT = re.compile(r"(?:^|\s)(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)")
_UNIX_MS = re.compile(r"(1\d{12}) ")  # the gateway's own
_LOOK_AT = 120


class LogLine(NamedTuple):
    """One line. `replica` is "" where no engine's replica wrote it."""

    at: float
    unit: str
    replica: str
    message: str


def journal(text: str) -> LogLine | None:
    """A line of `journalctl -o json`; None for one that is none. A message that is no text comes as its bytes."""
    try:
        entry = json.loads(text)
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        message = bytes(part for part in message if isinstance(part, int) and 0 <= part < 256).decode(errors="replace")
    unit = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or entry.get("SYSLOG_IDENTIFIER") or ""
    return LogLine(at, str(unit).removesuffix(".service"), "", plain(str(message or "")))


def life(text: str, unit: str) -> LogLine | None:
    """A line of the record that engines keep of their own life: proofs, changes of state."""
    try:
        entry: Any = json.loads(text)
        at = float(entry["at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    rest = {key: value for key, value in entry.items() if key not in ("at", "replica")}
    return LogLine(at, unit, str(entry.get("replica", "")), json.dumps(rest)[:MESSAGE_CHARACTERS])


def of_file(lines: Iterable[str], unit: str, replica: str, written: float) -> Iterator[LogLine]:
    """Lines of a log file. One without a time of its own has that of the line before; the first ones, `written`.

    `written`: when the file was written last; it also says the year where a line leaves that out.
    """
    at: float | None = None
    waiting: list[str] = []
    for line in lines:
        message = plain(line)
        found = stamp(message, written)
        if found is None and at is None:
            waiting.append(message)
            continue
        if found is not None:
            yield from (LogLine(found, unit, replica, early) for early in waiting)
            waiting, at = [], found
        yield LogLine(at if at is not None else written, unit, replica, message)
    yield from (LogLine(written, unit, replica, early) for early in waiting)


def stamp(line: str, written: float) -> float | None:
    """The time that a line begins with, on this host's own clock face; None where it has none."""
    head = line[:_LOOK_AT]
    if found := _UNIX_MS.match(head):
        return int(found[1]) / 1000
    if found := _FULL.search(head):
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        return _unix(year, month, day, hour, minute, second) + float(f"0.{found[7] or 0}")
    if found := _SHORT.search(head):
        month, day, hour, minute, second = (int(part) for part in found.groups())
        year = time.localtime(written).tm_year
        at = _unix(year, month, day, hour, minute, second)
        return at if at <= written + 86_400 else _unix(year - 1, month, day, hour, minute, second)
    return None


def _unix(*parts: int) -> float:
    try:
        return time.mktime((*parts, 0, 0, -1))  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return 0.0


def plain(line: str) -> str:
    """A line without what was meant for a terminal, and of what was written over itself the last."""
    return _TERMINAL.sub("", line).rstrip("\r\n").rpartition("\r")[2][:MESSAGE_CHARACTERS]
