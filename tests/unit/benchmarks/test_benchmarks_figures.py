"""Pure parts of the gateway and cold-start benchmarks; the load tool's results are cut from real ones in shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cold_starts
from experiments import servers
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.tool import ToolRun, Work
from experiments.report import gateway as gateway_report
from experiments.telemetry import starts as start_figures
from experiments.telemetry.starts import ANSWER, READY, Event


def tool_result(**changed: Any) -> dict[str, Any]:
    return {
        "duration": 2.0,
        "completed": 4,
        "failed": 0,
        "total_output_tokens": 40,
        "start_times": [10.3, 10.0, 10.1, 10.4],
        "ttfts": [0.05, 0.9, 0.8, 0.06],
        "itls": [[0.01], [0.01, 0.02], [], [0.01]],
        "errors": ["", "", "", ""],
        **changed,
    }


def test_first_tokens_of_the_requests_that_all_began_at_once_do_not_count() -> None:
    run = ToolRun.parse(tool_result(), concurrent=2)
    assert run.first_tokens == (0.05, 0.06)
    found = load_tool.figures([run, run])
    assert (found["requests"], found["requests_a_second"], found["tokens_a_second"]) == (8, 2.0, 20.0)
    assert found["first_token_ms"]["p50"] == 55.0


@pytest.mark.parametrize("changed", [{"error": "refused"}, {"ttfts": [0.1]}, {"duration": None}])
def test_a_run_that_failed_is_said(changed: dict[str, Any]) -> None:
    with pytest.raises(ExperimentError, match="vllm bench serve"):
        ToolRun.parse(tool_result(**changed), concurrent=1)


def test_the_tool_is_asked_for_one_seed_and_one_answer_length() -> None:
    words = Work("m", "/model", 10, 2, 32, 16, 0.5, 3).arguments("http://127.0.0.70:1")
    asked = dict(zip(words[:-1:2], words[1::2], strict=False))
    assert (asked["--base-url"], asked["--seed"], asked["--max-concurrency"]) == ("http://127.0.0.70:1", "3", "2")
    assert words[-1] == "--ignore-eos"


def measured(added: float | None, ratio: float | None) -> dict[str, Any]:
    return {"added_first_token_ms": {"p50": added, "p90": added, "p99": added}, "requests_ratio": ratio}


def test_targets() -> None:
    good = {"concurrent": {"1": measured(0.4, 0.5), "64": measured(1.9, 0.995)}}
    assert gateway_report.targets_missed({"stub": good}) == []
    bad = {"concurrent": {"64": measured(5.5, 0.98), "1": measured(None, None)}}
    assert len(gateway_report.targets_missed({"stub": good, "engine": bad})) == 5
    late = {**measured(0.4, 1.0), "stub_late": {"first": {"p50_ms": 0.3, "p99_ms": 9.0}}}
    assert len(gateway_report.targets_missed({"stub": {"concurrent": {"64": late}}})) == 1


def test_what_the_gateway_adds_is_the_difference_of_the_percentiles() -> None:
    direct, through = (load_tool.figures([ToolRun.parse(tool_result(), 2)]) for _ in range(2))
    through["first_token_ms"] = {"p50": 56.5, "p90": None, "p99": 70.0}
    found = gateway_report.compared(direct, through)
    assert found["added_first_token_ms"]["p50"] == 1.5
    assert found["added_first_token_ms"]["p90"] is None
    assert found["requests_ratio"] == 1.0


def test_engines_that_run_on_other_processors_are_not_alike() -> None:
    one, other = {"threads": 9, "processors": [0, 1]}, {"threads": 9, "processors": [0]}
    assert gateway_report.unlike({"bare": [one], "replicas": [one, one]}) == []
    assert len(gateway_report.unlike({"bare": [one], "replicas": [one, other]})) == 1
    assert gateway_report.unlike({"bare": [], "replicas": [one]})


def test_engine_flags() -> None:
    engine = {"dtype": "bfloat16", "enforce_eager": True, "enable_prefix_caching": False, "seed": None, "x": {"a": 1}}
    flags = ["--dtype", "bfloat16", "--enforce-eager", "--no-enable-prefix-caching", "--x", '{"a": 1}']
    assert servers.engine_flags(engine) == flags


GOOD_START = [
    Event(1, "gateway", ANSWER, 0, False, "refused"),
    Event(2, "gateway", ANSWER, 503, False, "no engine"),
    Event(3, "w1", READY, 503, False, "starting"),
    Event(10, "w1", READY, 200, True),
    Event(11, "w1", ANSWER, 200, True),
    Event(12, "gateway", ANSWER, 200, True),
    Event(20, "w2", READY, 200, True),
    Event(21, "w2", ANSWER, 200, True),
]


def test_a_good_start() -> None:
    start = start_figures.judge_start(GOOD_START, ["w1", "w2"])
    assert start["correct"] and not start["misses"] and start["false_ready"] == 0
    assert (start["first_answer_seconds"], start["asked_before_ready"]) == (12, 2)
    assert start["ready_seconds"] == {"w1": 10, "w2": 20}
    total = start_figures.total([{**start, "command_seconds": 30.0}, {**start, "command_seconds": None}])
    assert (total["starts"], total["correct"], total["command"]["runs"]) == (2, 2, 1)


@pytest.mark.parametrize(
    "event",
    [
        Event(5, "gateway", ANSWER, 200, False, "lacks 'Paris'"),
        Event(10.5, "w1", ANSWER, 503, False, "not proven"),
        Event(10.5, "w1", ANSWER, 0, False, "no end within 60 s"),
        Event(15, "gateway", ANSWER, 503, False, "no engine"),
    ],
)
def test_a_false_ready(event: Event) -> None:
    start = start_figures.judge_start([*GOOD_START, event], ["w1", "w2"])
    assert start["false_ready"] == 1
    assert len(start["misses"]) == 1


def test_a_replica_that_never_answered_is_named() -> None:
    start = start_figures.judge_start(GOOD_START[:6], ["w1", "w2"])
    assert not start["correct"]
    assert start["misses"] == ["w2 never gave the golden answer"]


def test_stopped_cold_starts_go_on_only_where_the_same_is_measured(tmp_path: Path) -> None:
    stopped = {"benchmark": "cold_starts", "versions": {"runtime": "cpu-1"}, "nodes": ["a"], "starts": [{}, {}]}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(stopped))
    fresh = {**stopped, "started": "now", "starts": []}
    found = cold_starts.resumed(file, fresh)
    assert (len(found["starts"]), found["resumed"]) == (2, [{"at": "now", "after": 2}])
    with pytest.raises(ExperimentError, match="other versions than now"):
        cold_starts.resumed(file, {**fresh, "versions": {"runtime": "cpu-2"}})
    file.write_text("{")
    with pytest.raises(ExperimentError, match="not a result of cold starts"):
        cold_starts.resumed(file, fresh)
