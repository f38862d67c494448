"""Smoke runs: each script tried out in seconds, without a lab, a cluster or a GPU; nothing is kept.

What a script cannot do without those is left out: then its kept results are read and reported once more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from experiments.errors import ExperimentError
from experiments.report.progress import show


def add_argument(parser: argparse.ArgumentParser) -> None:
    """`--smoke` for a script."""
    parser.add_argument(
        "--smoke", action="store_true", help="try this script out in seconds, without lab, cluster or GPU; keep nothing"
    )


def run(
    name: str,
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
    measure: Callable[[argparse.Namespace], int],
    smoke: Callable[[], int],
) -> int:
    """A script's exit status: of its smoke run, or of what it measures; 2, with a line, where it could not measure."""
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke()
    try:
        return measure(options)
    except ExperimentError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2


def kept(benchmark: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Results of a benchmark that are kept in benchmarks/results/; ExperimentError when there is none."""
    paths = sorted(RESULTS.glob(f"{benchmark}-[0-9]*.json"))
    if not paths:
        raise ExperimentError(f"{RESULTS}: no result of {benchmark}")
    for path in paths:
        result: dict[str, Any] = json.loads(path.read_text())
        yield path, result


def report_kept(benchmark: str, report: Callable[[dict[str, Any]], str]) -> int:
    """Report every kept result anew; 1 when a report is another one than was kept, but for what came to it since."""
    status = 0
    for path, result in kept(benchmark):
        lines = report(result).splitlines()
        missing = [line for line in path.with_suffix(".md").read_text().splitlines() if line not in lines]
        show("report", f"{path.name}: {len(lines)} lines{f', without: {missing[0]}' if missing else ''}")
        status = 1 if missing else status
    return status
