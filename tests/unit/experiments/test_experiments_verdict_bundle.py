"""A bundle is judged from its files alone, in the shapes that the rest of an experiment writes. Imagined runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.bundle import layout, writing
from experiments.errors import ExperimentError
from experiments.load import records
from experiments.schedule import windows
from experiments.schedule.windows import FaultWindow
from experiments.telemetry import tables
from experiments.verdict import INVALID, VALID
from experiments.verdict.bundle import judge_bundle, server_seen
from tests.unit.experiments import made_runs
from tests.unit.experiments.made_runs import BEGAN, Made, clean


def bundle(place: Path, made: Made, retries: int = 0) -> Path:
    records.write(place / layout.REQUESTS, made.records)
    writing.write_json(place, layout.CLIENT, {"health": vars(made.health), "watched": made.watched.to_json()})
    tables.write(
        place, tables.METRICS, [[r[name] for name in ("at", "node", "name", "labels", "value")] for r in made.rows]
    )
    tables.write(place, tables.LOGS, [[r["at"], r["node"], "", "", r["message"]] for r in made.logs])
    spans = [
        [
            *(r.trace, "0" * 16, "1" * 16, "gateway", "head", r.sent, r.ended),
            json.dumps({"http.path": "/v1/chat/completions", "gateway.retries": int(r.number < retries)}),
        ]
        for r in made.records
    ]
    tables.write(place, tables.SPANS, spans)
    return place


def test_a_clean_bundle_is_valid_and_everything_is_told(tmp_path: Path) -> None:
    made = clean(1)
    line = {"at": BEGAN + 1, "node": "compute1", "message": "INFO 1 request running"}
    place = bundle(tmp_path, Made(made.records, made.health, made.rows, [line], made.watched))
    verdict = judge_bundle(place)
    assert verdict.word == VALID, verdict.lines()
    assert not verdict.unknown
    # What the frame writes down is read again by whoever compares.
    writing.write_json(place, layout.VERDICT, verdict)
    assert json.loads((place / layout.VERDICT).read_text())["verdict"] == VALID


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (made_runs.compiled, "late_compilation"),
        (made_runs.restarted, "server_restart"),
        (made_runs.paused_loop, "client_pause"),
        (made_runs.clock_step, "client_clock"),
    ],
)
def test_what_spoiled_it_is_read_from_its_files(change: made_runs.Change, name: str, tmp_path: Path) -> None:
    verdict = judge_bundle(bundle(tmp_path, change(clean(1))))
    assert verdict.word == INVALID
    assert verdict.causes[0].name == name


def test_retries_are_read_from_the_gateways_spans(tmp_path: Path) -> None:
    verdict = judge_bundle(bundle(tmp_path, clean(1), retries=30))
    assert [cause.name for cause in verdict.causes] == ["hidden_retries"]


def test_a_fault_of_the_experiment_excuses_the_servers(tmp_path: Path) -> None:
    place = bundle(tmp_path, made_runs.restarted(clean(1)))
    window = FaultWindow("kill", "process", ["compute1"], BEGAN + 11.9, healed=BEGAN + 15.0, healed_by="cluster")
    windows.write(place / layout.FAULTS, [window])
    assert "server_restart" not in {cause.name for cause in judge_bundle(place).causes}


def test_requests_alone_are_judged_as_far_as_they_go(tmp_path: Path) -> None:
    records.write(tmp_path / layout.REQUESTS, clean(1).records)
    verdict = judge_bundle(tmp_path)
    assert verdict.word == VALID
    assert {"client_pause", "other_tenant", "kv_ceiling"} <= {check.name for check in verdict.unknown}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    place = bundle(tmp_path, clean(1))
    (place / layout.METRICS).write_bytes(b"no table")
    with pytest.raises(ExperimentError, match=r"metrics\.parquet"):
        server_seen(place)
    (place / layout.METRICS).unlink()
    writing.write_text(place, layout.FAULTS, "{}")
    with pytest.raises(ExperimentError, match="cannot be judged"):
        judge_bundle(place)
    with pytest.raises(ExperimentError, match="was a load run"):
        judge_bundle(tmp_path / "nothing")
