"""Writes simulated telemetry as labelled bundles; their names say that nobody ran them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from experiments.causes import labels, telemetry
from experiments.causes.signatures import LAYERS
from experiments.causes.simulation import Planted, Simulated

NAMES = {
    "cpu": "cpu-pressure", "memory": "memory-pressure", "disk": "disk-pressure", "gpu": "gpu-contention",
    "host": "host-crash", "clock": "clock-offset",
}  # fmt: skip


def windows(planted: Sequence[Planted], began: float) -> list[dict[str, object]]:
    """Planted faults as results/faults.json has them; `began` is the run's begin, unix seconds."""
    return [
        {
            "name": NAMES.get(one.kind, one.kind), "layer": LAYERS[one.kind], "nodes": [one.node],
            "began": began + one.began - 0.4, "took_effect": began + one.began, "healed_asked": began + one.ended,
            "healed": began + one.ended + 0.7, "healed_by": "cluster" if one.kind == "process-kill" else "controller",
            "parameters": {"strength": one.strength}, "detail": "",
        }
        for one in planted
    ]  # fmt: skip


def write(directory: Path, planted: Sequence[Planted], made: Simulated, began: float = 1_800_000_000.0) -> Path:
    """One bundle of telemetry and labels, nothing else. Returns its directory."""
    for path, table in ((telemetry.METRICS, made.metrics), (telemetry.FLOWS, made.flows), (telemetry.LOGS, made.logs)):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, directory / path)
    (directory / labels.FAULTS).parent.mkdir(parents=True, exist_ok=True)
    (directory / labels.FAULTS).write_text(json.dumps(windows(planted, began), indent=1) + "\n")
    return directory
