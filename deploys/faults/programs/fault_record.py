"""What a host remembers of its faults: a file for each that is there, and a line for each that is over.

Standard library only. A record is {name, order, asked, until, took_effect, made}; times are seconds since the host's
boot. Records are replaced whole, and everything that changes them holds the directory's lock.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_HISTORY_LINES = 500


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """One at a time: the timer and whoever asked may come at the same moment."""
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(Path(directory, "lock"), "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write(directory: str, record: Record) -> None:
    """Replace a record in one step, on the disk before anything is done that it is to undo."""
    file = Path(directory, f"{record['name']}.json")
    new = file.with_suffix(".new")
    with open(new, "w") as stream:
        stream.write(json.dumps(record) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def read(directory: str, name: str) -> Record | None:
    """The record of a fault that is there, or that somebody began to do; None for none."""
    try:
        found = json.loads(Path(directory, f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def active(directory: str) -> list[Record]:
    """Every record, by name."""
    names = sorted(file.stem for file in Path(directory).glob("*.json"))
    return [record for name in names if (record := read(directory, name))]


def remove(directory: str, name: str) -> None:
    """The fault is over."""
    Path(directory, f"{name}.json").unlink(missing_ok=True)


def remember(directory: str, entry: Record) -> None:
    """Add a line to the history."""
    file = Path(directory, "history.jsonl")
    lines = file.read_text().splitlines()[-_HISTORY_LINES:] if file.exists() else []
    file.write_text("\n".join([*lines, json.dumps(entry)]) + "\n")


def history(directory: str) -> list[Record]:
    """Faults that are over, the oldest first; a line that was cut by a full disk is left out."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path(directory, "history.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
