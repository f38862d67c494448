"""Where benchmarks keep their results: benchmarks/results/, written by the scripts alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from experiments.report import results

RESULTS = Path(__file__).resolve().parent / "results"


def result_path(benchmark: str) -> Path:
    """The JSON file of this run; its Markdown goes beside it."""
    return results.new_path(RESULTS, benchmark)


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, and whether its files differ from it."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
