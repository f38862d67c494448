"""Where benchmarks keep their results: benchmarks/results/, written by the scripts alone."""

from __future__ import annotations

from pathlib import Path

from experiments.report import results

RESULTS = Path(__file__).resolve().parent / "results"


def result_path(benchmark: str) -> Path:
    """The JSON file of this run; its Markdown goes beside it."""
    return results.new_path(RESULTS, benchmark)
