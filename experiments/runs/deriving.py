"""What follows from a bundle's telemetry: the latency ledger, the budget of each recovery, the likely causes.

The bundle alone is read. ExperimentError where a file is damaged; where nothing was collected there is nothing to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments import causes, ledger
from experiments.bundle import layout, writing
from experiments.bundle.errors import BundleError
from experiments.configuration.parameters import Parameters
from experiments.load import records
from experiments.recovery.budgets import Budget, Objective, budget
from experiments.recovery.marks import Mark
from experiments.runs.faulting import LOOKS, MARKS
from experiments.schedule import windows
from experiments.telemetry import tables
from experiments.telemetry.collecting import spans_of
from experiments.telemetry.fault_times import Look


def write_ledger(bundle: Path, control: str) -> list[str]:
    """results/ledger.parquet; what its rows say: whether the parts are the whole, and whose part is larger.

    `control`: the node that the gateway runs on.
    """
    spans = spans_of(tables.read(bundle, tables.SPANS))
    if not spans:
        return ["no ledger: no spans were collected"]
    rows = ledger.build(
        records.read(bundle / layout.REQUESTS), spans, tables.read(bundle, tables.FLOWS), control=control
    )
    tables.write(bundle, tables.LEDGER, (row.values() for row in rows))
    return [ledger.sums(rows).detail, *(excess.text for excess in ledger.named(rows))]


def write_recovery(bundle: Path, parameters: Parameters) -> list[Budget]:
    """results/recovery.json: a budget for each fault that took effect; none where there was no fault."""
    if not (bundle / layout.FAULTS).exists():
        return []
    try:
        done = windows.read(bundle / layout.FAULTS)
    except ValueError as error:
        raise BundleError(f"{error}; the bundle was changed") from None
    wanted = Objective(_seconds(parameters.llm_benchmark_slo_ttft_ms), _seconds(parameters.llm_benchmark_slo_e2el_ms))
    path = bundle / layout.REQUESTS
    sent = records.read(path) if path.exists() else []
    looks = [Look(**one) for one in _list(bundle, LOOKS)]
    found = budget(sent, done, looks, [Mark(**one) for one in _list(bundle, MARKS)], wanted)
    writing.write_json(bundle, layout.RECOVERY, found)
    return found


def write_causes(bundle: Path) -> str:
    """results/causes.json: what telemetry alone says was wrong, in a line."""
    if not (bundle / layout.METRICS).exists():
        return "no causes: no metrics were collected"
    ranked = causes.rank(bundle)
    writing.write_json(bundle, layout.CAUSES, ranked)
    named = ", ".join(f"{one.kind} on {one.node}" for one in ranked.found)
    return f"causes by telemetry alone: {named or ranked.word}"


def _list(bundle: Path, name: str) -> list[dict[str, Any]]:
    found = writing.read_json(bundle, name)
    return found if isinstance(found, list) else []


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
