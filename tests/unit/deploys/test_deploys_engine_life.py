"""engine_life.py with a clock of the test's own: when an engine counts as serving, wedged or wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploys.vllm.programs import engine_life

RIGHT = {"correct": True, "seconds": 0.1, "answer": "Paris.", "detail": ""}
WRONG = {"correct": False, "seconds": 0.1, "answer": "Lyon.", "detail": "expected 'Paris' in the answer, got 'Lyon.'"}


class Engine:
    """A clock and a number of pending requests, both the test's."""

    def __init__(self, record: str = "") -> None:
        self.now, self.requests = 1000.0, 0
        about = {"node": "worker1", "address": "192.0.2.11", "replica": "abc", "model": "m", "engine": "vllm"}
        self.life = engine_life.Life(about, pending=lambda: self.requests, record=record, clock=lambda: self.now)

    def step(self, generated: int = 1) -> None:
        self.life.stepped(running=1, waiting=0, kv_cache_usage=0.5, generated=generated, prompt=0, finished=0)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def state(engine: Engine) -> str:
    found: str = engine.life.state()[0]
    return found


def test_nothing_serves_before_a_right_answer(engine: Engine) -> None:
    assert state(engine) == "starting"
    engine.step()
    engine.life.proved(WRONG)
    assert state(engine) == "starting"
    engine.life.proved(RIGHT)
    assert state(engine) == "serving"


def test_a_wrong_answer_takes_it_out_and_a_right_one_brings_it_back(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    engine.life.proved(WRONG)
    assert engine.life.state() == ("wrong", WRONG["detail"])
    engine.life.proved(RIGHT)
    assert state(engine) == "serving"
    assert engine.life.report()["proofs"]["asked"] == 3
    assert engine.life.report()["proofs"]["failed"] == 1


def test_work_without_a_step_is_a_wedge_within_ten_seconds(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    state(engine)
    engine.requests = 2
    for seconds, expected in ((8.0, "serving"), (2.0, "wedged")):
        engine.now += seconds
        assert state(engine) == expected
    assert "2 requests pending" in engine.life.state()[1]
    engine.step()
    assert state(engine) == "serving"


def test_a_long_idle_engine_is_not_wedged_by_its_next_request(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    for _ in range(3600):
        engine.now += 1
        assert state(engine) == "serving"
    engine.requests = 1
    engine.now += 1
    assert state(engine) == "serving"


def test_slow_steps_are_no_wedge(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    engine.requests = 16
    for _ in range(20):
        engine.now += 8
        assert state(engine) == "serving"
        engine.step()


def test_a_sign_of_life_that_does_not_come(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    engine.life.silent("asked for one token, none came within 6 s")
    assert engine.life.state() == ("wedged", "asked for one token, none came within 6 s")
    engine.step()
    assert state(engine) == "serving"


def test_an_engine_whose_process_has_ended_is_out_at_once() -> None:
    gone: list[bool] = []
    life = engine_life.Life({"replica": "abc"}, pending=lambda: 0, ended=lambda: bool(gone))
    life.proved(RIGHT)
    assert life.state() == ("serving", "")
    gone.append(True)
    assert life.state() == ("wedged", "the engine's own process has ended")


def test_a_replica_of_no_use_ends_at_once_and_a_wedged_one_when_it_does_not_move_again(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    assert engine.life.over() == ""
    engine.life.silent("no token")
    assert (engine.life.over(), engine.life.broken()) == ("", True)
    engine.now += engine_life.PATIENCE_SECONDS - 0.1
    engine.step()
    assert (engine.life.over(), engine.life.broken()) == ("", False)
    engine.life.silent("no token again")
    assert engine.life.over() == "", "its patience begins anew"
    engine.now += engine_life.PATIENCE_SECONDS
    assert engine.life.over() == "no token again"
    engine.step()
    engine.life.proved(WRONG)
    assert engine.life.over() == WRONG["detail"]
    engine.life.draining = True
    assert engine.life.over() == ""


def test_an_engine_that_ends_is_seen_before_it_is_right_about_anything() -> None:
    gone = [True]
    life = engine_life.Life({"replica": "abc"}, pending=lambda: 0, ended=lambda: bool(gone))
    assert life.over() == "", "its start fails by itself"
    life.proved(RIGHT)
    life.draining = True
    assert life.over() == "the engine's own process has ended"


def test_draining_is_told_apart_from_broken(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    engine.life.draining = True
    assert engine_life.STATUS[state(engine)] == 404, (
        "the gateway lets running requests end on 404, and cuts them on 503"
    )


def test_since_is_the_time_of_the_last_change(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in (1.0, 2.0, 3.0):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        engine.life.proved(RIGHT)
    assert engine.life.report()["since"] == 1.0
    assert engine.life.report()["proofs"]["last"]["at"] == 3.0


def test_the_record_has_every_proof_and_every_change(tmp_path: Path) -> None:
    record = tmp_path / "proofs.jsonl"
    engine = Engine(str(record))
    for proof in (RIGHT, WRONG, RIGHT):
        engine.life.proved(proof)
    events = [json.loads(line) for line in record.read_text().splitlines()]
    assert [event.get("state") or event["correct"] for event in events] == [
        True, "serving", False, "wrong", True, "serving"
    ]  # fmt: skip
    assert {event["replica"] for event in events} == {"abc"}


def test_the_record_is_turned_over_and_a_full_disk_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_life, "RECORD_BYTES", 1000)
    record = tmp_path / "proofs.jsonl"
    engine = Engine(str(record))
    for _ in range(100):
        engine.life.proved(RIGHT)
    assert record.stat().st_size < 2000
    assert (tmp_path / "proofs.jsonl.1").stat().st_size < 2000
    refused: Callable[..., None] = Engine(str(tmp_path / "missing" / "record")).life.proved
    refused(RIGHT)


def test_who_is_to_blame_stands_in_the_reason_until_it_serves_again(engine: Engine, tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "record"))
    engine.life.proved(RIGHT)
    engine.requests = 1
    engine.now += engine_life.STALL_SECONDS + 1
    who = "rank 1 on worker2 is stopped (process 12)"
    engine.life.blame(who)
    assert engine.life.state() == ("wedged", f"1 requests pending and no step for 10 s: {who}")
    engine.step()
    assert state(engine) == "serving"
    engine.now += engine_life.STALL_SECONDS + 1
    assert engine.life.state() == ("wedged", "1 requests pending and no step for 10 s")
    events = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert [event["reason"] for event in events if event["event"] == "blame"] == [who]


def test_requests_taken_from_a_wedged_engine_are_no_step(engine: Engine) -> None:
    """As on an H200: the gateway took the requests of an engine whose rank was stopped, which then seemed idle."""
    engine.life.proved(RIGHT)
    engine.requests = 8
    engine.now += engine_life.STALL_SECONDS + 1
    assert state(engine) == "wedged"
    engine.requests = 0
    assert engine.life.state() == ("wedged", "8 requests pending and no step for 10 s")
    engine.step()
    assert state(engine) == "serving"


def test_an_engine_without_one_of_its_parts_is_wedged_at_once_and_stays_so(engine: Engine) -> None:
    engine.life.proved(RIGHT)
    engine.life.lost("rank 1 on worker2 has ended (process 12)")
    assert engine.life.state() == ("wedged", "rank 1 on worker2 has ended (process 12)")
    engine.step()
    assert state(engine) == "wedged"
