"""The phases of a run: which there are, how they end, what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.display import Progress
from deploys.stages import LAST_STAGE, STAGES
from operate import clusters, phases
from operate.phases import Phases


@pytest.fixture
def run() -> Phases:
    return Phases(Progress())


def test_the_meeting_points_of_the_deploys_are_the_phases(run: Phases, repository: Path) -> None:
    run.begin("look")
    run.begin("base")
    for name in STAGES.values():
        run.event("operation", f"Base of every node | {name}")
    run.end()
    assert list(run.done) == ["look", *STAGES, LAST_STAGE]
    text = (repository / "deploys/all.py").read_text()
    assert [text.index(f'stage.reach("{stage}")') for stage in STAGES] == sorted(
        text.index(f'stage.reach("{stage}")') for stage in STAGES
    )
    assert set(run.done) <= set(phases.SAYS)


def test_a_run_that_changed_nothing_yet_has_nothing_to_resume(run: Phases) -> None:
    run.begin("look")
    run.stop()
    assert phases.resume("cluster -c laptop", run) == ""


def test_a_run_that_stopped_says_where_and_how_to_go_on(run: Phases) -> None:
    run.begin("look")
    run.begin("runtime")
    run.stop()
    said = phases.resume("cluster -c lab", run)
    assert "'runtime'" in said and "`cluster -c lab up` goes on from there" in said
    record = run.record(changed=None)
    assert not record["ok"] and record["failed"] == "runtime"


def test_the_newest_whole_run_is_the_one_to_compare_with(home: Path, run: Phases) -> None:
    cluster = clusters.read("laptop")
    cluster.directory.mkdir(parents=True)
    assert phases.last_run(cluster) is None
    for seconds in range(phases.KEPT + 5):
        phases.keep(cluster, {"ok": True, "seconds": seconds, "phases": [{"phase": "base", "seconds": seconds}]})
    phases.keep(cluster, {"ok": False, "seconds": 1, "phases": []})
    path = cluster.directory / phases.FILE
    assert len(path.read_text().splitlines()) == phases.KEPT
    found = phases.last_run(cluster)
    assert found and found["seconds"] == phases.KEPT + 4
    path.write_text(path.read_text() + "\x00 not json\n")
    assert phases.last_run(cluster) == found


def test_a_part_is_kept_and_compared_with_its_like(home: Path) -> None:
    cluster = clusters.read("laptop")
    cluster.directory.mkdir(parents=True)
    for only in ("", "boot", "boot"):
        part = Phases(Progress(), only)
        part.begin("power")
        part.end()
        phases.keep(cluster, part.record(changed=len(only)))
    failed = Phases(Progress(), "boot")
    failed.begin("power")
    failed.stop()
    phases.keep(cluster, failed.record(changed=None))
    assert "`cluster -c laptop up --only boot` goes on" in phases.resume("cluster -c laptop", failed)
    kept = [json.loads(line) for line in (cluster.directory / phases.FILE).read_text().splitlines()]
    assert [(entry["only"], entry["ok"]) for entry in kept] == [
        (None, True), ("boot", True), ("boot", True), ("boot", False),
    ]  # fmt: skip
    assert phases.last_run(cluster) == kept[0]
    assert phases.last_run(cluster, "boot") == kept[2]
    assert phases.last_run(cluster, "compute_base") is None


def test_a_record_that_cannot_be_written_is_said_and_no_failure(home: Path) -> None:
    cluster = clusters.read("laptop")
    cluster.directory.parent.mkdir(parents=True, exist_ok=True)
    cluster.directory.write_text("a file where the directory should be")
    assert "this run was not kept for comparison" in phases.keep(cluster, {"ok": True})


def test_the_table_sets_a_run_beside_the_one_before() -> None:
    record = {"seconds": 12.0, "phases": [{"phase": "base", "seconds": 2.0}, {"phase": "image", "seconds": 10.0}]}
    before = json.loads('{"seconds": 7.5, "phases": [{"phase": "base", "seconds": 7.5}]}')
    assert [row[2:] for row in phases.rows(record, before)] == [["2.0", "7.5"], ["10.0", "-"], ["12.0", "7.5"]]
    assert phases.rows(record, None)[-1] == ["all", "", "12.0", "-"]
