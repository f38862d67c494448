"""How right a load tool was, judged from what it measured; other tools' results are cut from real ones in shape."""

from __future__ import annotations

import random
from typing import Any

import pytest

from experiments.errors import ExperimentError
from experiments.load.arrivals import CONSTANT, POISSON
from experiments.load.referees import Measured, Ours, Work, in_turn, of_aiperf, of_vllm_bench
from experiments.report.load_accuracy import (
    AIPERF,
    OURS,
    VLLM,
    figures,
    kept_up,
    poisson_p,
    report,
    saturation,
    targets_missed,
)

STUB = {"requests": 100, "first": {"tokens": 100, "p50_ms": 0.1, "p99_ms": 0.3, "most_ms": 1.0}}


def one(
    asked: float = 50, *, off_ms: float = 0.3, slower: float = 0.0, arrivals: str = CONSTANT, says: str = ""
) -> dict[str, Any]:
    """A tool that measures TTFT that much too long and sends that share too slowly."""
    rate = asked * (1 - slower)
    if arrivals == POISSON:
        draw = random.Random(1)  # noqa: S311
        began = sorted(draw.random() * 1_000 / rate for _ in range(1_000))
    else:
        began = [number / rate for number in range(1_000)]
    first = (0.1 + off_ms / 1000,) * 1_000
    measured = Measured(1_000, 0, tuple(began), first, (0.0201,) * 3_000, says)
    return figures(Work(asked, 20, 32, arrivals), measured, 100.0, 20.0, STUB)


def test_errors_are_what_was_measured_less_what_the_engine_was_told() -> None:
    found = one(off_ms=0.4, slower=0.02)
    assert found["ttft_error_ms"] == pytest.approx(0.4)
    assert found["itl_error_ms"] == pytest.approx(0.1)
    assert found["sent_rate"] == pytest.approx(49) and found["rate_error"] == pytest.approx(-0.02)
    assert "arrivals_p" not in found
    assert one(arrivals=POISSON)["arrivals_p"] > 0.01
    assert poisson_p([number / 50 for number in range(1_000)]) == pytest.approx(0, abs=1e-9)
    nothing = figures(Work(50, 1, 1), Measured(3, 3, (), (), ()), 100.0, 20.0, {})
    assert (nothing["sent_rate"], nothing["ttft_error_ms"]) == (None, None) and not kept_up(nothing)


def test_a_tool_is_saturated_at_the_first_rate_that_it_did_not_keep() -> None:
    runs = [one(50), one(100), one(200, off_ms=9), one(300)]
    assert saturation(runs) == {"held": 100, "lost": 200}
    assert saturation([one(50), one(100, slower=0.06)]) == {"held": 50, "lost": 100}
    assert saturation([one(50, says="client: late")]) == {"held": 0.0, "lost": 50}
    assert saturation([one(50)]) == {"held": 50, "lost": None}


def result(ours: list[dict[str, Any]], **others: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {"processor": "p", "cores": 2, "memory_bytes": 2**33, "system": "s", "kernel": "6"}
    return {
        "base_rate": 50,
        "engine": {"ttft_ms": 100, "itl_ms": 20, "output_tokens": 32},
        "machine": machine,
        "versions": {"python": "3.11"},
        "started": "now",
        "load_before": 0.1,
        "beside": "",
        "misses": [],
        "tools": {OURS: ours, **{{"vllm": VLLM, "aiperf": AIPERF}[name]: runs for name, runs in others.items()}},
    }


def test_targets_are_held_against_both_ends() -> None:
    good = [one(), one(arrivals=POISSON), one(100), one(200)]
    assert targets_missed(result(good, vllm=[one(off_ms=3), one(100, off_ms=8)])) == []
    missed = targets_missed(result([one(off_ms=1.2, slower=0.02)], aiperf=[one(off_ms=0.1), one(100)]))
    assert [line.split(" at ")[0].split(" is ")[0].split(" goes ")[0] for line in missed] == [
        OURS,
        OURS,
        AIPERF,
        AIPERF,
    ]
    even = {**one(arrivals=POISSON), "arrivals_p": 0.0001}
    assert "are not Poisson's" in targets_missed(result([even]))[0]
    assert targets_missed(result([])) == [f"{OURS}: nothing measured at 50/s"]


def test_the_report_has_every_tool_and_where_it_ended() -> None:
    text = report(result([one(), one(100)], vllm=[one(off_ms=3), one(100, off_ms=8)]))
    assert "| 50 constant | 1000 | 50.00 | +0.00% | 100.30 | 0.30 | 0.30 | 0.10 | 0.10 / 0.30 | - |" in text
    assert "Kept up at 50/s; not at 100/s." in text and "Kept up at 100/s; the highest that was tried." in text


def test_other_tools_results_are_read() -> None:
    vllm = {
        "completed": 1,
        "failed": 1,
        "start_times": [2.0, 1.0],
        "ttfts": [0.1, 0.0],
        "errors": ["", "x"],
        "itls": [[0.02], []],
    }
    assert of_vllm_bench(vllm) == Measured(2, 1, (1.0, 2.0), (0.1,), (0.02,))
    line = {
        "metadata": {"request_start_ns": 1_500_000_000},
        "metrics": {
            "time_to_first_token": {"value": 100.5, "unit": "ms"},
            "inter_token_latency": {"value": 20.0, "unit": "ms"},
        },
        "error": None,
    }
    assert of_aiperf([line]) == Measured(1, 0, (1.5,), (0.1005,), (0.02,))
    for bad in ({"error": "refused"}, {"completed": 1}):
        with pytest.raises(ExperimentError, match="vllm bench serve"):
            of_vllm_bench(bad)
    with pytest.raises(ExperimentError, match="AIPerf: unexpected result"):
        of_aiperf([{"metrics": {}}])


def test_each_turn_begins_with_another_tool() -> None:
    three = {"a": Ours(), "b": Ours(), "c": Ours()}
    assert [[name for name, _ in in_turn(dict(three), turn)] for turn in range(3)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
    ]
