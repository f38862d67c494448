"""Figures, objectives, vLLM's shape and a sweep's judgement, from records whose times are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from experiments import answers
from experiments.errors import ExperimentError
from experiments.load import objectives
from experiments.load.arrivals import Constant
from experiments.load.figures import by_step, figures, spread, summary
from experiments.load.health import ClientHealth, joined
from experiments.load.records import RequestRecord
from experiments.load.sweep import limit_of
from experiments.load.tool import ToolRun
from experiments.load.vllm_bench import as_vllm_bench

BEGIN = 1_000.0


def record(
    number: int, *, every: float = 0.1, ttft: float = 0.2, gap: float = 0.05, tokens: int = 3, **more: Any
) -> RequestRecord:
    """Requests each `every` seconds, each answered at its own speed."""
    sent = BEGIN + number * every
    times = tuple(sent + ttft + place * gap for place in range(tokens))
    given = {
        "number": number,
        "step": "rate=10",
        "target_rate": 10.0,
        "due": sent,
        "sent": sent,
        "first_byte": times[0],
        "first_token": times[0],
        "last_token": times[-1],
        "ended": times[-1],
        "token_times": times,
        "prompt_tokens": 7,
        "output_tokens": tokens,
        "kind": answers.ANSWERED,
        "node": f"compute{number % 2}",
        "replica": f"r{number % 2}",
        **more,
    }
    return RequestRecord(**given)


def test_percentiles_are_those_of_the_samples() -> None:
    found = spread([number / 1000 for number in range(101)])
    assert (found["samples"], found["p50"], found["p99"], found["least"], found["most"]) == (101, 50, 99, 0, 100)
    assert found["mean"] == pytest.approx(50)
    assert spread([None])["p50"] is None


def test_figures_of_a_step_and_of_its_nodes() -> None:
    records = [record(number, ttft=0.2 if number % 2 == 0 else 0.4) for number in range(1, 21)]
    records += [record(0, warm_up=True, ttft=9.0), record(21, kind=answers.CUT, ttft=9.0, node="", replica="")]
    (step,) = by_step(records)
    assert (step["requests"], step["good"], step["failed"], step["warm_up_requests"]) == (21, 20, 1, 1)
    assert step["kinds"] == {answers.ANSWERED: 20, answers.CUT: 1}
    assert step["sent_rate"] == pytest.approx(10)
    assert step["ttft_ms"]["p50"] == pytest.approx(300)
    assert step["itl_ms"] == {**step["itl_ms"], "samples": 40, "p50": pytest.approx(50)}
    assert step["tpot_ms"]["p99"] == pytest.approx(50)
    assert step["end_to_end_ms"]["least"] == pytest.approx(300)
    assert step["nodes"]["compute0"]["ttft_ms"]["most"] == pytest.approx(200)
    assert step["nodes"]["compute1"]["ttft_ms"]["least"] == pytest.approx(400)
    assert sorted(step["replicas"]) == ["r0", "r1"]
    # From the first byte sent to the last answer's end; a failed request's too.
    assert step["seconds"] == pytest.approx(2.0 + 9.1)
    assert step["requests_a_second"] == pytest.approx(20 / 11.1)
    json.dumps(summary(records))


def test_a_client_that_was_late_shows_from_due() -> None:
    found = figures([record(number, due=BEGIN + number * 0.1 - 1.0) for number in range(5)])
    assert found["ttft_ms"]["p50"] == pytest.approx(200)
    assert found["ttft_from_due_ms"]["p50"] == pytest.approx(1200)
    assert found["send_lag_ms"]["p50"] == pytest.approx(1000)


def test_nothing_measured_is_none_and_no_zero() -> None:
    found = figures([])
    assert (found["requests"], found["sent_rate"], found["requests_a_second"], found["ttft_ms"]["p50"]) == (
        0,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("time_to_first_token:250", 10),
        ("time_to_first_token:150", 0),
        ("time_to_first_token:250 inter_token_latency:40", 0),
        ("request_latency:301", 10),
        ("output_token_throughput_per_user:19", 10),
        ("output_token_throughput_per_user:21", 0),
    ],
)
def test_goodput_counts_requests_within_all_objectives(text: str, within: int) -> None:
    found = figures([*map(record, range(10)), record(10, kind=answers.TRUNCATED)], objectives.parse(text))
    assert found["goodput"]["requests"] == within
    assert found["goodput"]["share"] == pytest.approx(within / 11)


def test_an_answer_of_one_token_has_no_gap_to_miss() -> None:
    one = record(0, tokens=1)
    assert objectives.met(one, objectives.parse("inter_token_latency:1 output_token_throughput_per_user:9999"))
    assert not objectives.met(record(0, first_token=None), {"time_to_first_token": 1e9})


@pytest.mark.parametrize("text", ["ttft:200", "time_to_first_token", "time_to_first_token:fast", "request_latency:-1"])
def test_objectives_that_there_are_not_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ExperimentError, match="write one of time_to_first_token, inter_token_latency"):
        objectives.parse(text)


def test_vllms_shape_is_read_by_what_reads_vllms() -> None:
    records = [record(0, warm_up=True), *map(record, range(1, 9)), record(9, kind=answers.CUT, detail="cut")]
    shaped = json.loads(
        json.dumps(
            as_vllm_bench(
                records,
                model="m",
                date="20260101-000000",
                arrivals=Constant(10),
                objectives={"time_to_first_token": 250},
            )
        )
    )
    run = ToolRun.parse(shaped, concurrent=0)
    assert (run.completed, run.failed, run.output_tokens) == (8, 1, 24)
    assert run.first_tokens == pytest.approx((0.2,) * 8)
    assert run.between_tokens == pytest.approx((0.05,) * 16)
    assert shaped["median_ttft_ms"] == pytest.approx(200) and shaped["p99_itl_ms"] == pytest.approx(50)
    assert (shaped["request_rate"], shaped["burstiness"], shaped["max_concurrency"]) == (10, "inf", None)
    assert shaped["request_goodput"] == pytest.approx(shaped["request_throughput"])
    assert shaped["errors"][-1] == "connection cut: cut" and shaped["ttfts"][-1] == 0
    assert len({len(value) for name, value in shaped.items() if isinstance(value, list)}) == 1
    closed = as_vllm_bench(records, model="m", date="20260101-000000", concurrent=4)
    assert (closed["request_rate"], closed["max_concurrency"], closed["request_goodput"]) == ("inf", 4, None)


QUIET = ClientHealth(loop_lag=(0.0001,) * 100, send_lag=(0.0002,) * 100)


def test_a_rate_is_held_while_what_is_under_way_does_not_grow() -> None:
    assert limit_of([record(number) for number in range(200)], QUIET) == ""
    # Answered at half the rate of the asking: the queue grows by half of what is sent.
    slow = [record(number, ttft=0.2 + number * 0.1) for number in range(200)]
    assert limit_of(slow, QUIET).startswith("server: requests under way grew by ")


def test_other_limits_are_named() -> None:
    held = [record(number) for number in range(200)]
    late = ClientHealth(loop_lag=(0.02,) * 100)
    assert limit_of(held, late) == "client: event loop was 20.0 ms late at P99"
    assert limit_of(held, joined([QUIET, ClientHealth(send_lag=(0.5,) * 100)])).startswith(
        "client: sent requests 500.0 ms"
    )
    failing = [*held[5:], *(record(number, kind=answers.REFUSED) for number in range(5))]
    assert limit_of(failing, QUIET) == "server: 5 of 200 requests failed"
    assert limit_of(held, QUIET, {"time_to_first_token": 100}) == "server: 0% of the requests within the objectives"
    assert "let it last longer" in limit_of([record(number, ttft=9.0) for number in range(20)], QUIET)
    assert limit_of([record(0, warm_up=True)], QUIET) == "nothing was sent after the warm-up"


def test_several_runs_are_one() -> None:
    both = joined([QUIET, ClientHealth(steal=0.2, governor="powersave", not_sent=3)])
    assert (len(both.loop_lag), both.steal, both.governor, both.not_sent) == (100, 0.2, "powersave", 3)
