"""The client's judgement of what a server does, over real connections on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from experiments import answers
from experiments.answers import Outcome, Question
from experiments.load.client import Endpoint, ask, client
from experiments.load.constant import Load

Serving = Callable[[], AbstractAsyncContextManager[str]]

CASES = [
    ("right", True, answers.RIGHT),
    ("right", False, answers.RIGHT),
    ("wrong", True, answers.WRONG),
    ("wrong", False, answers.WRONG),
    ("truncated", True, answers.TRUNCATED),
    ("truncated", False, answers.TRUNCATED),
    ("cut", True, answers.CUT),
    ("cut", False, answers.CUT),
    ("cut before the head", True, answers.CUT),
    ("error in the stream", True, answers.IN_STREAM),
    ("aborted", True, answers.IN_STREAM),
    ("refused", True, answers.REFUSED),
    ("refused", False, answers.REFUSED),
    ("bare 503", True, answers.UNCLEAR),
    ("bare 503", False, answers.UNCLEAR),
    ("hang", True, answers.HUNG),
    ("hang", False, answers.HUNG),
    ("hang in the middle", True, answers.HUNG),
]


def _ask(serving: Serving, how: str, streamed: bool, deadline: float) -> Outcome:
    async def once() -> Outcome:
        async with serving() as url, client() as session:
            question = Question(how, 8, "Paris")
            return await ask(session, Endpoint(url, "m"), question, streamed=streamed, deadline_seconds=deadline)

    return asyncio.run(once())


@pytest.mark.parametrize(("how", "streamed", "kind"), CASES)
def test_each_behaviour_has_its_kind(misbehaving: Serving, how: str, streamed: bool, kind: str) -> None:
    outcome = _ask(misbehaving, how, streamed, 0.5 if "hang" in how else 20)
    assert outcome.kind == kind, outcome
    assert bool(outcome.detail) == (kind != answers.RIGHT)


def test_an_answer_says_where_it_came_from_and_when(misbehaving: Serving) -> None:
    outcome = _ask(misbehaving, "right", True, 20)
    assert (outcome.node, outcome.replica, outcome.status, outcome.answer) == ("compute0", "r1", 200, "It is Paris")
    assert outcome.first_byte is not None
    assert outcome.started <= outcome.first_byte <= outcome.ended


def test_a_stream_that_hangs_still_names_its_node(misbehaving: Serving) -> None:
    outcome = _ask(misbehaving, "hang in the middle", True, 0.5)
    assert (outcome.kind, outcome.node) == (answers.HUNG, "compute0")
    assert 0.4 < outcome.seconds < 10


def test_nobody_listens() -> None:
    async def once() -> Outcome:
        async with client() as session:
            question = Question("right", 8)
            return await ask(
                session, Endpoint("http://127.0.0.70:9/v1", "m"), question, streamed=True, deadline_seconds=20
            )

    assert asyncio.run(once()).kind == answers.UNREACHABLE


def _load(serving: Serving, texts: list[str], seconds: float, **options: float) -> Load:
    async def run() -> Load:
        async with serving() as url, client() as session:
            load = Load(
                session,
                Endpoint(url, "m"),
                [Question(text, 8, "Paris") for text in texts],
                concurrent=int(options.get("concurrent", 4)),
                deadline_seconds=5,
                rate=options.get("rate", 0.0),
                most_requests=int(options.get("most", 1000)),
            )
            async with load.running():
                await asyncio.sleep(seconds)
            return load

    return asyncio.run(run())


def test_a_load_asks_every_question_both_ways_and_ends_bounded(misbehaving: Serving) -> None:
    load = _load(misbehaving, ["right", "wrong"], 3, most=12)
    assert sorted(entry.number for entry in load.outcomes) == list(range(12))
    assert {(entry.question, entry.streamed) for entry in load.outcomes} == {
        (text, streamed) for text in ("right", "wrong") for streamed in (True, False)
    }
    assert not load.under_way


def test_a_load_does_not_hammer_an_endpoint_that_refuses(misbehaving: Serving) -> None:
    load = _load(misbehaving, ["refused"], 1.2, concurrent=2)
    assert 2 <= len(load.outcomes) <= 2 * 4


def test_a_load_by_the_clock_starts_whether_or_not_others_ended(misbehaving: Serving) -> None:
    load = _load(misbehaving, ["hang"], 1, concurrent=3, rate=20.0)
    assert len(load.outcomes) == 3
    assert {entry.kind for entry in load.outcomes} == {answers.HUNG}
    assert load.not_sent > 5
