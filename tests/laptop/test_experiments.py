"""Experiments on the laptop cluster that is up: a closed loop, and a fault beside an open one; whole bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.bundle import layout, manifest, reading
from experiments.load import records
from tests.laptop.conftest import Operator

pytestmark = pytest.mark.cluster

SUITE = """
parameters:
  llm_benchmark_warm_up: 1
  llm_benchmark_duration: 5
  llm_benchmark_output_tokens: 6
  llm_benchmark_checked_every: 3
  telemetry_interval_seconds: 2
experiments:
  - exp_type_identifier: closed
    llm_benchmark_arrivals: closed
    llm_benchmark_concurrent_workers: [2]
  - exp_type_identifier: pressed
    llm_benchmark_target_qps_values: [1]
    llm_benchmark_duration: 8
    chaos_experiment_scenario: memory-pressure
    chaos_anomaly_injection_start: 1
    chaos_anomaly_injection_duration: 3
    chaos_anomaly_injection_parameters: {memory-pressure: {bytes: 67108864}}
"""


def test_a_short_suite_leaves_whole_bundles(laptop: Operator, tmp_path: Path) -> None:
    """A verdict may name what else runs on the machine; it is a verdict all the same."""
    suite, fetched = tmp_path / "short.yaml", tmp_path / "fetched"
    suite.write_text(SUITE)
    tags = "benchmark,chaos,collect-telemetry-data"
    done = laptop.cluster("experiment", "run", str(suite), "--tags", tags, "--to", str(fetched), "--json", seconds=120)
    assert done.status in (0, 1), done.stderr
    told = json.loads(done.stdout)["experiments"]
    assert [one["failure"] for one in told] == ["", ""], told
    for bundle in layout.bundles(fetched):
        assert [check.detail for check in manifest.check(bundle) if check.ok is not True] == []
        seen = reading.read(bundle)
        assert seen.state == "complete" and seen.verdict in ("VALID", "INVALID")
        found = records.read(bundle / layout.REQUESTS)
        assert {record.node for record in found if record.good} <= {"worker1", "worker2"}
        assert any(record.kind == "right" for record in found)
        assert not [record for record in found if record.failed]
    windows = json.loads((layout.bundles(fetched)[1] / layout.FAULTS).read_text())
    (window,) = windows
    assert window["name"] == "memory-pressure" and window["healed"] is not None and window["nodes"]
