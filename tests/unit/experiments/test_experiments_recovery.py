"""Budgets of recoveries, from requests, looks and records made up for it; records in the shape of an engine's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from experiments.answers import REFUSED, RIGHT, TRUNCATED
from experiments.recovery.budgets import Budget, Objective, budget, cost_of
from experiments.recovery.marks import BEGUN, ENDED, LOADED, OUT, SERVING, Mark, parse
from experiments.schedule.windows import FaultWindow
from experiments.telemetry.fault_times import Look

NODE, OTHER, FAULT = "compute0", "compute1", 100.0


@dataclass(frozen=True)
class Asked:
    """A request's record, as far as a budget reads it."""

    number: int
    sent: float
    ended: float
    kind: str = RIGHT
    node: str = OTHER
    finish_reason: str = "stop"
    first_token: float | None = None


WINDOW = FaultWindow("process-kill", "process", [NODE], FAULT - 0.2, FAULT, None, None, "cluster")
MARKS = [
    Mark(50.0, NODE, BEGUN),
    Mark(100.4, NODE, OUT),
    Mark(101.0, NODE, ENDED),
    Mark(110.0, NODE, BEGUN),
    Mark(130.0, NODE, LOADED),
    Mark(134.8, NODE, SERVING),
]
LOOKS = [
    Look(at / 2, node, 503 if node == NODE and 101 <= at / 2 < 135 else 200)
    for at in range(160, 300)
    for node in (NODE, OTHER)
]
RECORDS = [
    Asked(1, 90.0, 91.0),
    Asked(2, 99.0, 103.0, REFUSED, NODE, ""),
    Asked(3, 104.0, 105.0),
    Asked(4, 120.0, 129.0),
    Asked(5, 140.0, 141.0),
]


def _one(**changes: object) -> Budget:
    (found,) = budget(
        **{"records": RECORDS, "windows": [WINDOW], "looks": LOOKS, "marks": MARKS, **changes}  # type: ignore[arg-type]
    )
    return found


def test_a_killed_engines_time_is_told_in_five_parts_that_sum_to_the_whole() -> None:
    found = _one()
    assert found.parts == pytest.approx({"detect": 0.4, "drain": 2.6, "start": 7.0, "load": 20.0, "prove": 4.8})
    assert found.whole == pytest.approx(35.0) and found.adds_up
    assert found.to_json()["adds_up"] is True


def test_parts_that_do_not_sum_are_told() -> None:
    late = [mark if mark.name != SERVING else replace(mark, at=131.0) for mark in MARKS]
    found = _one(marks=late)
    assert sum(found.parts.values()) == pytest.approx(31.0)
    assert not found.adds_up


def test_without_records_what_follows_the_drain_is_one_part_and_says_so() -> None:
    found = _one(marks=[])
    assert found.parts == pytest.approx({"detect": 1.0, "drain": 2.0, "start": 0, "load": 0, "prove": 32.0})
    assert "no record of the engine" in found.detail and found.adds_up


def test_an_engine_that_was_only_held_up_begins_no_new_one() -> None:
    held = replace(WINDOW, name="network-partition", healed=120.0, healed_by="timer")
    looks = [Look(at / 2, NODE, 0 if 103 <= at / 2 < 121 else 200) for at in range(160, 300)]
    found = _one(windows=[held], looks=looks, marks=MARKS[:1])
    assert found.parts == pytest.approx({"detect": 3.0, "drain": 17.0, "start": 0, "load": 0, "prove": 1.0})
    assert found.detail == "no new engine began" and found.adds_up


def test_a_fault_that_nobody_saw_has_a_cost_and_no_whole() -> None:
    looks = [Look(at / 2, NODE, 200) for at in range(160, 300)]
    found = _one(looks=looks, windows=[replace(WINDOW, name="cpu-pressure", healed=110.0)])
    assert found.whole is None and found.adds_up and found.detail == "never seen out of service"
    assert (found.cost.requests, found.cost.missed) == (2, 1)
    assert _one(looks=[look for look in LOOKS if look.at < 120]).detail == "not seen to serve again"


def test_each_fault_has_its_own_time_and_each_node_its_own_budget() -> None:
    second = replace(WINDOW, nodes=[NODE, OTHER], began=139.8, took_effect=140.0)
    found = budget(RECORDS, [second, WINDOW, replace(WINDOW, took_effect=None)], LOOKS, MARKS)
    assert [(one.node, one.began) for one in found] == [(NODE, 100.0), (NODE, 140.0), (OTHER, 140.0)]
    assert found[0].whole == pytest.approx(35.0) and found[1].whole is None


def test_what_a_fault_cost_is_what_was_not_usual_before_it() -> None:
    objective = Objective(first_token_seconds=0.5, whole_seconds=2.0)
    before = [Asked(number, 60 + number, 61 + number, first_token=60.1 + number) for number in range(30)]
    slow = [replace(before[0], number=50, first_token=61.0), replace(before[0], number=51)]
    within = [
        Asked(60, 100.5, 101.0, first_token=100.6),
        Asked(61, 101.0, 102.0, first_token=101.9),
        Asked(62, 102.0, 106.0, first_token=102.1),
        Asked(63, 103.0, 103.1, REFUSED, finish_reason=""),
    ]
    cost = cost_of([*before, *slow, *within], 100.0, 130.0, objective)
    assert (cost.requests, cost.missed, cost.failed) == (4, 3, 1)
    assert cost.expected < 0.2 and cost.requests_lost_to_the_fault == pytest.approx(3 - cost.expected)
    assert cost.truncated_as_whole == ()


def test_a_cut_answer_is_never_passed_as_whole() -> None:
    cut = [Asked(70, 101.0, 102.0, TRUNCATED, finish_reason=""), Asked(71, 101.0, 102.0, finish_reason="")]
    cost = cost_of(cut, 100.0, 130.0, Objective())
    assert cost.truncated_as_whole == (71,), "it was counted as right and had no end"
    assert cost.missed == 2, "and neither serves its client"


def test_an_engines_record_is_read_and_a_torn_line_is_passed_over() -> None:
    entries = [
        {"at": 1.0, "replica": "a", "event": "begin"},
        {"at": 2.0, "replica": "a", "event": "loaded"},
        {"at": 3.0, "replica": "a", "event": "proof", "correct": True},
        {"at": 3.1, "replica": "a", "event": "state", "state": "serving"},
        {"at": 9.0, "replica": "a", "event": "state", "state": "wedged", "reason": "x"},
        {"at": 9.5, "replica": "a", "event": "end", "reason": "x"},
    ]
    lines = [*map(json.dumps, entries), '{"at": 10', "[]", '{"at": "x", "event": "begin"}']
    found = parse(NODE, lines)
    assert [(mark.at, mark.name) for mark in found] == [
        (1.0, BEGUN),
        (2.0, LOADED),
        (3.1, SERVING),
        (9.0, OUT),
        (9.5, ENDED),
    ]
    assert {(mark.node, mark.replica) for mark in found} == {(NODE, "a")}
