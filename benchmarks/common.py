"""What every benchmark writes beside its figures: the machine, medians, ratios, a Markdown table.

Standard library only; bytes and seconds. Results go to benchmarks/results/ and are written by the scripts alone.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
GIB = 1024**3
MIB = 1024**2


class BenchmarkError(Exception):
    """What stands in the way of a measurement; one line with the thing, the value and the fix."""


def machine() -> dict[str, Any]:
    """The machine that measures: processor, cores that this process may use, memory, system."""
    return {
        "processor": _after_colon(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _meminfo("MemTotal"),
        "system": _operating_system(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def available_memory_bytes() -> int:
    """What new programs can have without pushing out others, as the kernel estimates it."""
    return _meminfo("MemAvailable")


def load_average() -> float:
    """Runnable processes in the last minute; says whether a measurement had the machine to itself."""
    return round(os.getloadavg()[0], 2)


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of some runs; None in each place when there was none."""
    if not seconds:
        return {"runs": 0, "median": None, "least": None, "most": None}
    return {
        "runs": len(seconds),
        "median": round(statistics.median(seconds), 3),
        "least": round(min(seconds), 3),
        "most": round(max(seconds), 3),
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` (0 to 1) of the values lie, linear between neighbours; None without values."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give 0 to 1")
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(value: float | None, base: float | None) -> float | None:
    """value / base with two decimals; None when either is missing."""
    return round(value / base, 2) if value is not None and base else None


def shown(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column text, the others figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def about(machine_now: dict[str, Any], versions: dict[str, str], started: str) -> str:
    """Two lines of Markdown that say where and with what was measured."""
    size = machine_now["memory_bytes"] / GIB
    what = f"{machine_now['processor']}, {machine_now['cores']} cores, {size:.1f} GiB, {machine_now['system']}"
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Machine: {what}, kernel {machine_now['kernel']}. Measured {started}.\n\nVersions: {named}.\n"


def listed_misses(misses: Sequence[str]) -> str:
    """Everything that did not go as declared, or that nothing did not."""
    return "Misses:\n\n" + "\n".join(f"- {miss}" for miss in misses) if misses else "Misses: none."


def now() -> str:
    """UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def begun(benchmark: str, **more: Any) -> dict[str, Any]:
    """A result before anything is measured: which benchmark, when, on which machine, how busy that was, no misses."""
    return {
        "benchmark": benchmark,
        "started": now(),
        "machine": machine(),
        "load_before": load_average(),
        "misses": [],
        **more,
    }


def result_path(benchmark: str) -> Path:
    """The JSON file of this run; a second run on one day gets a number, so that no result is overwritten."""
    RESULTS.mkdir(exist_ok=True)
    stem = f"{benchmark}-{datetime.now(UTC):%Y-%m-%d}"
    number = 1
    while True:
        path = RESULTS / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        if not path.exists():
            return path
        number += 1


def write_results(path: Path, result: dict[str, Any], markdown: str) -> None:
    """Write the JSON at `path` and the Markdown beside it."""
    path.write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown.rstrip() + "\n")


def _after_colon(path: Path, key: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _meminfo(key: str) -> int:
    return int(_after_colon(Path("/proc/meminfo"), key).split()[0]) * 1024


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()
