"""A node's logs of a stretch of time: read_logs.py ORDER-JSON

Standard library only; reads. Order: `since` and `until` (unix seconds of this host), `units` (systemd's, whose journal
is asked) or `files` ([unit, path]; a supervisor's logs), `ray` (Ray's directory, for its replicas' logs) and `life`
(the engines' own record). Prints a line of JSON for each of the log: [at, unit, replica, message]; the last is
{"lines": how many, "notes": what could not be read}.
"""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploys.observability.programs.log_lines import LogLine, journal, life, of_file

FILE_BYTES = 20 * 1024**2  # of each file the end
MOST_LINES = 500_000
JOURNAL_SECONDS = 60
_REPLICA = re.compile(r"replica_.*?([^_#]+)\.log")


def lines(order: dict[str, Any], notes: list[str]) -> Iterator[LogLine]:
    """All lines within the time, source by source."""
    since, until = float(order["since"]), float(order["until"])
    sources = [_journal(order["units"], since, until, notes)] if order.get("units") else []
    for unit, path in order.get("files", []):
        sources.append(_file(Path(path), unit, "", notes))
    if order.get("ray"):
        place = Path(order["ray"], "session_latest", "logs")
        for path in sorted(place.glob("serve/replica_*.log")):
            found = _REPLICA.fullmatch(path.name)
            sources.append(_file(path, "replica", found[1] if found else "", notes))
        for path in sorted([*place.glob("worker-*.out"), *place.glob("worker-*.err"), *place.glob("raylet.*")]):
            sources.append(_file(path, path.name.split(".")[0], "", notes))
    if order.get("life"):
        sources.append(_life(Path(order["life"]), notes))
    for source in sources:
        yield from (line for line in source if since <= line.at <= until)


def _journal(units: list[str], since: float, until: float, notes: list[str]) -> Iterator[LogLine]:
    words = ["journalctl", "-q", "--no-pager", "-o", "json", "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT"]
    words += [f"--since=@{since:.0f}", f"--until=@{until + 1:.0f}", *(f"--unit={unit}" for unit in units)]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=JOURNAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        notes.append(f"journalctl: {type(error).__name__}")
        return
    if done.returncode:
        notes.append(f"journalctl: exit {done.returncode}: {done.stderr.strip()[:200]}")
    yield from (line for text in done.stdout.splitlines() if (line := journal(text)))


def _end(path: Path, notes: list[str]) -> tuple[list[str], float]:
    """Lines of a file's end, with those of the file before it where it was turned over; and when it was written."""
    found: list[str] = []
    written = 0.0
    for part in (path.with_name(f"{path.name}.1"), path):
        try:
            with part.open("rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, size - FILE_BYTES))
                text = stream.read().decode(errors="replace")
            written = part.stat().st_mtime
        except FileNotFoundError:
            continue
        except OSError as error:
            notes.append(f"{part}: {error.strerror}")
            continue
        found += text.splitlines()[1 if size > FILE_BYTES else 0 :]
    return found, written


def _file(path: Path, unit: str, replica: str, notes: list[str]) -> Iterator[LogLine]:
    found, written = _end(path, notes)
    yield from of_file(found, unit, replica, written)


def _life(path: Path, notes: list[str]) -> Iterator[LogLine]:
    yield from (line for text in _end(path, notes)[0] if (line := life(text, "engine-life")))


def main() -> int:
    """Print them."""
    order, count = json.loads(sys.argv[1]), 0
    notes: list[str] = []
    with contextlib.suppress(BrokenPipeError):
        for line in lines(order, notes):
            if count == MOST_LINES:
                notes.append(f"more than {MOST_LINES} lines; the rest is left out")
                break
            print(json.dumps([round(line.at, 4), line.unit, line.replica, line.message]))
            count += 1
        print(json.dumps({"lines": count, "notes": notes}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
