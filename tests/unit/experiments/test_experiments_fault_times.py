"""Detection, recovery and cost of a fault, from records made by hand: the fault is at 100, on compute1."""

from __future__ import annotations

from typing import Any

from experiments import answers
from experiments.answers import Outcome
from experiments.schedule import judged
from experiments.telemetry import fault_times
from experiments.telemetry.fault_times import Look

NODES = ("compute0", "compute1")


def outcome(
    started: float, ended: float, node: str = "compute0", kind: str = answers.RIGHT, status: int = 200
) -> Outcome:
    return Outcome(0, "q", True, started, None, ended, status, node, "r", kind)


def looks(node: str, statuses: dict[float, int]) -> list[Look]:
    return [Look(at, node, status) for at, status in statuses.items()]


FAULT = [
    *looks("compute0", {99: 200, 101: 200, 110: 200, 120: 200, 140: 200}),
    *looks("compute1", {99: 200, 100.5: 200, 103: 503, 110: 0, 130: 503, 131: 200, 140: 200}),
]


def test_detection_is_the_first_look_that_finds_the_replica_not_ready() -> None:
    assert fault_times.seconds_until_not_ready(FAULT, "compute1", 100) == 3
    assert fault_times.seconds_until_not_ready(FAULT, "compute0", 100) is None


def test_time_out_of_service_and_back() -> None:
    assert fault_times.time_out_of_service(FAULT, "compute1", 100) == (103, 130)
    assert fault_times.serves_again_at(FAULT, "compute1", 100) == 131
    assert fault_times.time_out_of_service(FAULT, "compute0", 100) is None
    still_out = [look for look in FAULT if look.at < 131]
    assert fault_times.time_out_of_service(still_out, "compute1", 100) == (103, float("inf"))
    assert fault_times.serves_again_at(still_out, "compute1", 100) is None


def test_last_request_given_to_the_faulty_replica() -> None:
    requests = [
        outcome(99, 101, "compute1"),
        outcome(100.2, 104, "compute1", answers.CUT),
        outcome(104.5, 164.5, "compute1", answers.HUNG),
        outcome(120, 121, "compute0"),
        # Begun before the last look that found it out of service, answered rightly after it: it serves again.
        outcome(129.9, 132, "compute1"),
        outcome(135, 136, "compute1"),
    ]
    out = fault_times.time_out_of_service(FAULT, "compute1", 100)
    assert fault_times.seconds_until_unrouted(requests, "compute1", 100, out) == 4.5
    assert fault_times.seconds_until_unrouted(requests, "compute1", 100, None) is None
    assert fault_times.seconds_until_unrouted(requests[3:4], "compute1", 100, out) is None


def test_all_serve_since() -> None:
    assert fault_times.all_serve_since(FAULT, NODES, 140, 5) == 131
    assert fault_times.all_serve_since(FAULT, NODES, 150, 5) is None, "not looked at lately"
    assert fault_times.all_serve_since(FAULT[:-2], NODES, 140, 50) is None
    assert fault_times.all_serve_since(FAULT, [*NODES, "compute2"], 140, 5) is None
    assert fault_times.all_serve_since([], [], 140, 5) is None


def test_requests_under_way_at_the_fault_and_how_they_ended() -> None:
    requests = [
        outcome(99, 100.1, "compute1", answers.CUT),
        outcome(98, 160, "compute1", answers.HUNG),
        outcome(99, 101, "", answers.REFUSED, 503),
        outcome(99, 101, "compute0"),
        outcome(90, 99, "compute1"),
        outcome(101, 102, "compute1"),
    ]
    assert fault_times.what_became(requests, "compute1", 100) == {
        "on the node": {answers.CUT: 1, answers.HUNG: 1},
        "node not known": {answers.REFUSED: 1},
        "elsewhere": {answers.RIGHT: 1},
    }


def test_figures_of_a_fault() -> None:
    requests = [
        outcome(90, 95, "compute1", answers.WRONG),
        outcome(99, 101, "compute1", answers.CUT),
        outcome(101, 102, "", answers.REFUSED, 503),
        outcome(103, 104, "", answers.UNREACHABLE, 0),
        outcome(105, 106, "compute0", answers.TRUNCATED),
        *(outcome(100 + step, 101 + step) for step in range(1, 21)),
        outcome(132, 133.5, "compute1"),
        outcome(150, 151, "compute1", answers.HUNG),
    ]
    figures = fault_times.fault_figures(requests, FAULT, "compute1", {"fault": 100, "repair": 125, "end": 140})
    assert (figures["requests"], figures["right"], figures["wrong"], figures["hung"]) == (25, 21, 1, 0)
    assert (figures["failed_clearly"], figures["failed_unclearly"]) == (3, 0)
    assert figures["errors"] == {"connection cut, 200": 1, "refused in OpenAI's shape, 503": 1, "no connection": 1}
    assert figures["not_ready_after_seconds"] == 3
    assert figures["last_failure_began_after_seconds"] == 5
    assert figures["serves_again_after_seconds"] == 31
    assert figures["serves_again_after_repair_seconds"] == 6
    assert figures["answers_again_after_seconds"] == 33.5
    assert len(figures["failures"]) == 4


def test_a_fault_that_nobody_noticed_has_no_figures_of_time() -> None:
    figures = fault_times.fault_figures([outcome(101, 102)], FAULT[:5], "compute1", {"fault": 100, "end": 140})
    times = [figures[key] for key in figures if key.endswith("after_seconds")]
    assert times == [None] * 5


def test_a_later_read_back_changes_the_judgement_and_nothing_that_was_looked_at() -> None:
    marks = {"fault": 100.0, "end": 140.0}
    wrong = [outcome(101, 102, "compute0", answers.WRONG), outcome(103, 104, "compute0", answers.WRONG)]
    others = [outcome(90, 91), outcome(110, 111, "compute0", answers.CUT)]
    entry = {"name": "wedge", "node": "compute1", "delivers_wrong": False, "marks": marks}
    result: dict[str, Any] = {
        "options": {"deadline": 60},
        "control": {"from": 80.0, "to": 95.0, **fault_times.summary(others, 80.0, 95.0)},
        "faults": [{**entry, "figures": fault_times.fault_figures([*wrong, *others], FAULT, "compute1", marks)}],
        "requests": {**fault_times.summary([*wrong, *others], 80.0, 140.0), "not_sent": 3},
    }
    misses = judged.judged_misses(result)
    assert misses == ["wedge on compute1: 2 wrong answers, such as: "]
    result["misses"] = [*misses, f"{judged.NOT_READ_BACK}: refused", "at the end: verify"]
    mended = [outcome(101, 102), wrong[1], *others]
    judged.judged_anew(result, mended, {"accepted": 1})
    figures = result["faults"][0]["figures"]
    assert (figures["wrong"], figures["right"], figures["not_ready_after_seconds"]) == (1, 1, 3)
    assert (result["requests"]["wrong"], result["requests"]["not_sent"], result["read_back"]["accepted"]) == (1, 3, 1)
    assert result["misses"] == ["at the end: verify", "wedge on compute1: 1 wrong answers, such as: "]
