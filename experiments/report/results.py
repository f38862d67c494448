"""A result as JSON: what every measurement writes down before its figures, and where the file goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import machine


def now() -> str:
    """UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def begun(benchmark: str, **more: Any) -> dict[str, Any]:
    """A result before anything is measured: which benchmark, when, on which machine, how busy that was, no misses."""
    return {
        "benchmark": benchmark,
        "started": now(),
        "machine": machine.describe(),
        "load_before": machine.load_average(),
        "misses": [],
        **more,
    }


def new_path(directory: Path, name: str) -> Path:
    """A JSON file of this day; a second run on one day gets a number, so that no result is overwritten."""
    directory.mkdir(exist_ok=True)
    stem = f"{name}-{datetime.now(UTC):%Y-%m-%d}"
    number = 1
    while True:
        path = directory / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        if not path.exists():
            return path
        number += 1


def write(path: Path, result: dict[str, Any], report: str) -> None:
    """Write the JSON at `path` and the Markdown beside it."""
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(report.rstrip() + "\n")
