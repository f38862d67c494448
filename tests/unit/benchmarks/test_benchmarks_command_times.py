"""What the command costs: a small run without a cluster, and the table that is made of one."""

from __future__ import annotations

import pytest

from benchmarks import command_times
from experiments.errors import ExperimentError
from facts.sources import REPOSITORY


def test_help_and_completion_are_measured_without_a_cluster() -> None:
    if not (REPOSITORY / ".venv" / "bin" / "cluster").is_file():
        pytest.skip("this checkout has no environment of its own")
    checkouts = {"before": REPOSITORY, "after": REPOSITORY}
    result = command_times.measure(checkouts, ["--help", "completion"], rounds=2, runs=1)
    assert set(result["checkouts"]) == set(checkouts)
    for command in ("--help", "completion"):
        figures = result["checkouts"]["after"][command]
        assert figures["processor"]["runs"] == 2 and 0 < figures["processor"]["median"] < 30
    lines = command_times.report(result).splitlines()
    assert any(line.startswith("| `--help` | ") for line in lines)
    assert "Misses: none." in lines


def test_a_checkout_without_an_environment_is_named() -> None:
    with pytest.raises(ExperimentError, match=r"is missing; run .*cluster --help once"):
        command_times.measure({"other": REPOSITORY / "docs"}, ["--help"], rounds=1, runs=1)
