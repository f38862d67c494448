"""A run judges itself: planted spoilers are named, clean runs are not refused. Imagined runs (made_runs.py), seeded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from experiments import answers
from experiments.load.health import ClientHealth
from experiments.verdict import INVALID, VALID, Limits, ServerSeen, from_rows, judge, requests
from experiments.verdict.omission import omission, put_back
from experiments.verdict.steady import warm_up
from tests.unit.experiments import made_runs
from tests.unit.experiments.made_runs import BEGAN, SPOILERS, Made, clean


@dataclass(frozen=True)
class Window:
    """As much of a declared fault as the judgement reads."""

    began: float
    healed: float | None


@pytest.mark.parametrize("planted", SPOILERS)
def test_a_planted_spoiler_is_the_first_cause(planted: str) -> None:
    change, name = SPOILERS[planted]
    verdict = change(clean(1)).judged()
    assert verdict.word == INVALID
    assert verdict.causes[0].name == name, [(cause.name, cause.detail) for cause in verdict.causes]
    assert verdict.causes[0].remedy


@pytest.mark.parametrize("seed", range(20))
def test_no_clean_run_is_refused(seed: int) -> None:
    workers = 8 if seed % 4 == 3 else 0
    made = clean(seed, workers=workers, rate=10.0 + 5 * (seed % 3), noise=0.02 + 0.03 * (seed % 5))
    verdict = made.judged()
    assert verdict.word == VALID, verdict.lines()
    assert {check.name for check in verdict.unknown} == {"late_compilation"}


def test_other_ways_to_hold_the_client_back_are_named() -> None:
    made = clean(1)
    stolen = replace(made, health=replace(made.health, steal=0.2)).judged()
    quota = replace(made, watched=replace(made.watched, throttled=0.3)).judged()
    assert "steal" in stolen.causes[0].detail
    assert "quota" in quota.causes[0].detail
    # Work of others counts only where the client feels it.
    busy = replace(made, watched=replace(made.watched, other_work=0.9))
    assert busy.judged().word == VALID
    felt = made_runs.slow_client(busy).judged()
    assert [cause.name for cause in felt.causes[:2]] == ["client_processor", "client_event_loop"]


def test_a_stall_without_a_word_in_the_logs_is_a_stall() -> None:
    assert made_runs.stalled(clean(1)).judged().causes[0].name == "server_stall"


def test_a_host_whose_clock_is_stepped_is_named() -> None:
    made = clean(1)
    rows = [
        row | {"value": row["value"] + 2.0 * (row["at"] > BEGAN + 10)}
        if row["name"] == "node_time_seconds" and row["node"] == "compute2"
        else row
        for row in made.rows
    ]
    cause = replace(made, rows=rows).judged().causes[0]
    assert cause.name == "host_clock"
    assert "compute2" in cause.detail
    assert "+2.0" in cause.detail


def test_records_that_run_backwards_are_the_clocks() -> None:
    made = clean(1)
    records = [replace(r, first_token=r.sent - 0.2) if r.number == 40 else r for r in made.records]
    assert replace(made, records=records).judged().causes[0].name == "client_clock"


def test_a_full_cache_and_preemptions_are_named() -> None:
    made = clean(1)
    rows = []
    for row in made.rows:
        if row["name"] == "vllm:num_preemptions_total":
            row = row | {"value": max(row["at"] - BEGAN, 0.0)}
        if row["name"] == "vllm:kv_cache_usage_perc" and row["at"] > BEGAN + 10:
            row = row | {"value": 1.0}
        rows.append(row)
    verdict = replace(made, rows=rows).judged()
    assert [cause.name for cause in verdict.causes] == ["preemptions", "kv_ceiling"]
    assert replace(made, rows=rows).judged(beyond=["rate=20"]).word == VALID


def test_engines_that_run_fewer_at_once_than_asked_for_are_named() -> None:
    made = clean(8, workers=12)
    rows = [
        row | {"value": {"running": 4.0, "waiting": 2.0}.get(row["name"].rpartition("_")[2], row["value"])}
        for row in made.rows
    ]
    cause = replace(made, rows=rows).judged().causes[-1]
    assert (cause.name, cause.steps) == ("concurrency", ("workers=12",))
    assert "8 at once of 12" in cause.detail


def test_what_a_declared_fault_does_is_no_complaint() -> None:
    made = made_runs.restarted(clean(1))
    windows = [Window(BEGAN + 11.9, BEGAN + 15.0)]
    verdict = judge(made.records, made.health, from_rows(made.rows), windows, limits=Limits(recovery_seconds=5.0))
    assert verdict.word == VALID, verdict.lines()


def test_one_step_of_two_is_spoiled() -> None:
    first, second = clean(1), made_runs.saturated(clean(11, rate=25))
    later = [made_runs.shifted(record, 60.0, sent=True) for record in second.records]
    later = [replace(r, due=(r.due or 0.0) + 60.0, number=r.number + len(first.records)) for r in later]
    health = replace(
        first.health,
        loop_lag=first.health.loop_lag + second.health.loop_lag,
        loop_lag_at=first.health.loop_lag_at + tuple(at + 60.0 for at in second.health.loop_lag_at),
    )
    records = [*first.records, *later]
    verdict = Made(records, health, made_runs.rows_of(records), [], first.watched).judged()
    assert verdict.causes[0].name == "server_saturated"
    assert (verdict.of_step("rate=20"), verdict.of_step("rate=25")) == (VALID, INVALID)
    meant = Made(records, health, made_runs.rows_of(records), [], first.watched).judged(beyond=["rate=25"])
    assert meant.word == VALID, meant.lines()


def test_failed_requests_are_counted_outside_of_faults_only() -> None:
    made = clean(1)
    records = [replace(r, kind=answers.HUNG, finish_reason="") if r.number % 25 == 3 else r for r in made.records]
    cause = replace(made, records=records).judged().causes[0]
    assert cause.name == "failed_requests"
    assert answers.HUNG in cause.detail


def test_warm_up_is_found_and_cut_and_named() -> None:
    made = clean(1)
    # Six seconds in which everything takes longer, ever less so.
    slow = [made_runs.shifted(r, 0.1 * max(1 - (r.sent - BEGAN) / 6, 0.0)) for r in made.records]
    verdict = replace(made, records=slow).judged()
    part = verdict.steps["rate=20"]
    assert verdict.word == VALID, verdict.lines()
    assert 3.0 < part.began - BEGAN < 8.0
    counted = verdict.counts(requests.from_records(slow))
    assert counted.sum() == part.requests == len(slow) - part.cut
    assert any("warm-up found and cut" in line for line in verdict.lines())


def test_a_cold_cache_that_is_cut_with_the_warm_up_spoils_nothing() -> None:
    made = clean(1)
    records = [
        replace(made_runs.shifted(r, 0.15 if r.number < 60 else 0.0), prefix_group=r.number % 60) for r in made.records
    ]
    verdict = replace(made, records=records).judged()
    assert verdict.word == VALID, verdict.lines()
    check = next(check for check in verdict.checks if check.name == "cold_prefix_cache")
    assert "cold at the start, cut: rate=20" in check.detail


def test_a_declared_warm_up_is_not_judged() -> None:
    made = clean(1)
    records = [replace(made_runs.shifted(r, 0.5), warm_up=True) if r.number < 60 else r for r in made.records]
    verdict = replace(made, records=records).judged()
    assert verdict.word == VALID, verdict.lines()
    assert verdict.steps["rate=20"].began > BEGAN + 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_to_judge_is_invalid_with_a_reason(share: float) -> None:
    records = [replace(r, warm_up=True) for r in clean(1).records] if share else []
    verdict = judge(records, ClientHealth(), ServerSeen())
    assert [cause.name for cause in verdict.causes] == ["no_requests"]
    assert verdict.lines()[0] == INVALID


def test_all_requests_failed_is_said_and_not_a_crash() -> None:
    made = clean(1)
    records = [
        replace(r, kind=answers.UNREACHABLE, first_byte=None, first_token=None, last_token=None, token_times=())
        for r in made.records
    ]
    verdict = replace(made, records=records, rows=[]).judged()
    assert {"failed_requests", "too_short"} <= {cause.name for cause in verdict.causes}


def test_what_was_not_collected_is_not_told() -> None:
    made = clean(1)
    verdict = judge(made.records, ClientHealth(), ServerSeen())
    unknown = {check.name for check in verdict.unknown}
    assert {"client_pause", "client_event_loop", "client_clock", "preemptions", "kv_ceiling", "other_tenant"} <= unknown
    assert verdict.word == VALID


def test_the_verdict_as_json_is_whole() -> None:
    said = json.loads(json.dumps(made_runs.restarted(clean(1)).judged().to_json(), allow_nan=False))
    assert said["verdict"] == INVALID
    assert said["causes"][0]["name"] == "server_restart"
    assert said["steps"]["rate=20"]["verdict"] == INVALID
    assert {"name", "ok", "detail", "remedy", "steps"} == set(said["causes"][0])


def test_a_constant_series_and_noise_have_no_warm_up() -> None:
    assert warm_up(np.full(100, 0.05)) == 0
    rng = np.random.default_rng(1)
    assert sum(warm_up(rng.lognormal(0, 0.5, size=300)) > 0 for _ in range(100)) <= 2


def test_one_long_first_request_is_a_warm_up() -> None:
    values = np.random.default_rng(2).normal(0.05, 0.002, size=200)
    values[0] = 3.0
    assert warm_up(values) == 1


def test_what_a_closed_loop_did_not_ask_is_put_back() -> None:
    # One user, a cycle of 0.1 s, one wait of a second: nine waits would have begun meanwhile.
    waits = put_back(np.asarray([0.1, 0.1, 1.0, 0.1]), 0.1)
    assert sorted(waits.round(3).tolist()) == [0.1, 0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    with pytest.raises(ValueError, match="cycle"):
        put_back(np.asarray([1.0]), 0.0)


def test_percentiles_count_from_when_a_request_was_due() -> None:
    made = made_runs.paused_loop(clean(1))
    found = omission("rate=20", requests.from_records(made.records))
    assert found is not None
    # A second of twenty requests each: three of a hundred waited up to a second before they were sent.
    assert found.p99_sent < 0.5 < found.p99_corrected


def test_the_page_names_every_check(repository: Path) -> None:
    page = (repository / "docs" / "verdict.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == ["no_requests", *(check.name for check in clean(1).judged().checks)]


def _passed(made: Made, retries: dict[int, int], more: int = 0) -> list[dict[str, object]]:
    """The gateway's spans of these requests, and of some of somebody else's."""
    traces = [(r.trace, r.sent, retries.get(r.number, 0)) for r in made.records]
    traces += [(f"{number:032x}", BEGAN + 2 + 0.1 * (number - 10_000), 0) for number in range(10_000, 10_000 + more)]
    return [
        {
            "name": "gateway",
            "trace": trace,
            "began": at,
            "attributes": json.dumps({"http.path": "/v1/chat/completions", "gateway.retries": again}),
        }
        for trace, at, again in traces
    ]


def test_retries_and_strangers_in_the_gateways_log_are_named() -> None:
    made = clean(1)
    # As it is with this gateway, which tells the client nothing of its attempts.
    made = replace(made, records=[replace(r, attempts=0) for r in made.records])
    retried = from_rows([], [], _passed(made, dict.fromkeys(range(0, 100, 10), 1)))
    cause = judge(made.records, made.health, retried, watched=made.watched).causes[0]
    assert (cause.name, "10 of" in cause.detail) == ("hidden_retries", True)
    shared = from_rows([], [], _passed(made, {}, more=20))
    cause = judge(made.records, made.health, shared, watched=made.watched).causes[0]
    assert (cause.name, "passed 20 requests" in cause.detail) == ("other_tenant", True)
    alone = judge(made.records, made.health, from_rows([], [], _passed(made, {})), watched=made.watched)
    assert alone.word == VALID
    assert "hidden_retries" not in {check.name for check in alone.unknown}


def test_tokens_that_come_all_at_once_are_no_crash() -> None:
    made = clean(1)
    records = [
        replace(r, token_times=(r.ended,) * r.output_tokens, first_token=r.ended, last_token=r.ended)
        if r.number > 200
        else r
        for r in made.records
    ]
    assert replace(made, records=records).judged().steps["rate=20"].requests > 0
