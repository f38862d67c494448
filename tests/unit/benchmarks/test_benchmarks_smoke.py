"""Each benchmark's smoke run: seconds, without a lab, a cluster or a GPU. It has to end well and to keep nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks.common import RESULTS

SMOKE = ["--smoke"]
RUNS: dict[str, list[str]] = {
    "benchmarks.beside_bare": SMOKE,
    "benchmarks.ci_times": SMOKE,
    "benchmarks.causes": SMOKE,
    "benchmarks.cold_starts": SMOKE,
    "benchmarks.command_times": SMOKE,
    "benchmarks.fault_healing": SMOKE,
    "benchmarks.faults_under_load": SMOKE,
    "benchmarks.fresh_machine": SMOKE,
    "benchmarks.gateway": ["--smoke", "--address", "127.0.0.91"],
    "benchmarks.h200.compare": [str(RESULTS / "h200-2026-11-21.jsonl")],
    "benchmarks.h200.gateway": ["--smoke", "--results", "/nowhere"],
    "benchmarks.h200.measure": ["--dry-run", "--results", "/nowhere"],
    "benchmarks.h200.span": ["--smoke", "--results", "/nowhere"],
    "benchmarks.h200.starts": ["--smoke", "--results", "/nowhere"],
    "benchmarks.h200.other_engine": ["--smoke", "--results", "/nowhere"],
    "benchmarks.idle": SMOKE,
    "benchmarks.image_build": SMOKE,
    "benchmarks.laptop_plan": SMOKE,
    "benchmarks.load_accuracy": SMOKE,
    "benchmarks.netboot": SMOKE,
    "benchmarks.netboot_join": SMOKE,
    "benchmarks.noop_rerun": SMOKE,
    "benchmarks.ray_joins": SMOKE,
    "benchmarks.startup": SMOKE,
    "benchmarks.telemetry_price": SMOKE,
    "benchmarks.verdict_power": SMOKE,
}
# Scripts that others start, each tried by tests of its own or only where its GPU is.
STARTED = {
    "benchmarks.ansible.export",
    "benchmarks.causes_others",
    "benchmarks.h200.engine",
    "benchmarks.h200.micro",
    "benchmarks.netboot_clients",
}


def test_every_script_has_a_smoke_run(repository: Path) -> None:
    scripts = {
        ".".join(file.relative_to(repository).with_suffix("").parts)
        for file in (repository / "benchmarks").rglob("*.py")
        if 'if __name__ == "__main__":' in file.read_text()
    }
    assert scripts == {*RUNS, *STARTED}


@pytest.mark.parametrize("name", RUNS)
def test_smoke_run(name: str, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(RESULTS.iterdir())
    monkeypatch.setattr(sys, "argv", [name, *RUNS[name]])
    status = importlib.import_module(name).main()
    said = capsys.readouterr()
    assert status == 0, said.out[-3000:] + said.err[-3000:]
    assert said.out
    assert sorted(RESULTS.iterdir()) == before
