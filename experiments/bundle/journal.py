"""The journal of a run: a line of JSON for each thing that happened, on disk before the next thing happens.

It is what a bundle is read from whose run died. Unix seconds of the controller's clock.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bundle.errors import unwritten
from experiments.bundle.layout import JOURNAL
from experiments.load.client import clock


@dataclass(frozen=True)
class Entry:
    """One line: when, what kind (`phase`, `step`, `fault`, `clock`, `note`, ...), and the rest of it."""

    at: float
    kind: str
    data: Mapping[str, Any]


class Journal:
    """Appends lines, whole ones, from any thread. BundleError where the disk takes no more."""

    def __init__(self, directory: Path) -> None:
        self._path, self._lock = directory / JOURNAL, threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            # A run that died in the middle of a line: the next one begins on its own.
            size = os.fstat(self._file).st_size
            self._torn = bool(size) and os.pread(self._file, 1, size - 1) != b"\n"
        except OSError as error:
            raise unwritten(self._path, error) from None

    def add(self, kind: str, **data: Any) -> Entry:
        """Write a line down; `at` is now, unless it is given."""
        entry = Entry(float(data.pop("at", None) or clock()), kind, data)
        line = json.dumps({"at": entry.at, "kind": kind, **data}, default=plain).encode() + b"\n"
        with self._lock:
            try:
                self._write(b"\n" + line if self._torn else line)
            except OSError as error:
                raise unwritten(self._path, error) from None
        return entry

    def _write(self, line: bytes) -> None:
        self._torn = True
        done = 0
        while done < len(line):
            done += os.write(self._file, line[done:])
        self._torn = False

    def close(self) -> None:
        """Everything is on the disk."""
        with self._lock:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
            self._file = -1


def read(directory: Path) -> list[Entry]:
    """The lines of a bundle's journal, in their order; a line that was cut is left out. None where there is none."""
    try:
        text = (directory / JOURNAL).read_bytes().decode(errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
            found.append(Entry(float(data.pop("at")), str(data.pop("kind")), data))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def plain(value: Any) -> Any:
    """What JSON has no word for: paths as text, objects with `to_json` as that, other frozen ones by their fields."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item"):  # numpy has numbers of its own
        return value.item()
    return dict(vars(value))
