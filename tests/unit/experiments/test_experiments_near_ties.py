"""Unrecorded answers: roundings told from wrong ones. The engine's replies have vLLM 0.24's shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from experiments.answers import CUT, RIGHT, WRONG, Outcome, Question
from experiments.load.client import Endpoint
from experiments.load.near_ties import judge_again, largest_gap

QUESTION = Question("Which planet do we live on?", 4, "", frozenset({"Earth, of course."}))
GOLDEN = Question("What is the capital of France?", 4, "Paris")


def token(name: int, logprob: float, best: float | None = None) -> dict[str, Any]:
    found = {str(name): {"logprob": logprob, "rank": 1 if best is None else 2, "decoded_token": f"t{name}"}}
    if best is not None:
        found["99"] = {"logprob": best, "rank": 1, "decoded_token": "best"}
    return found


def outcome(question: str, answer: str, kind: str = WRONG) -> Outcome:
    return Outcome(0, question, False, 0.0, 0.1, 0.2, 200, "compute0", "r", kind, "not recorded", answer)


def test_the_largest_gap_counts_the_answers_tokens_only() -> None:
    read = [None, token(1, -9.0, -0.1), token(2, -0.5), token(3, -0.9, -0.7)]
    assert largest_gap(read, 2) == pytest.approx(0.2)
    assert largest_gap(read, 3) == pytest.approx(8.9)


@pytest.mark.parametrize("tokens", [0, 4, 9])
def test_an_answer_of_another_length_is_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match="tokens of an answer"):
        largest_gap([None, token(1, -1.0), token(2, -1.0), token(3, -1.0)], tokens)


def engine(gaps: dict[str, float], ended: str = "stop") -> httpx.MockTransport:
    """An engine that reads answers back: `gaps` tells how far the second of an answer's two tokens lies below."""

    def reply(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.headers["authorization"] == "Bearer k"
        answer = body["messages"][1]["content"] if len(body["messages"]) > 1 else ""
        read = [None, *[token(7, -4.0, -0.1)] * 9]
        if answer:
            assert body["continue_final_message"] and not body["add_generation_prompt"]
            read += [token(1, -0.2), token(2, -0.2 - gaps[answer], -0.2)]
        return httpx.Response(
            200,
            json={
                "choices": [{"finish_reason": ended if answer else "length", "message": {"content": ""}}],
                "usage": {"prompt_tokens": len(read)},
                "prompt_logprobs": read if answer else None,
            },
        )

    return httpx.MockTransport(reply)


def judged(transport: httpx.MockTransport, outcomes: list[Outcome]) -> tuple[list[Outcome], dict[str, Any]]:
    async def once() -> tuple[list[Outcome], dict[str, Any]]:
        async with httpx.AsyncClient(transport=transport) as session:
            return await judge_again(
                session, Endpoint("http://engine/v1", "m", "k"), [QUESTION, GOLDEN], outcomes, 0.25
            )

    return asyncio.run(once())


def test_a_rounding_is_right_and_a_wrong_answer_stays_wrong() -> None:
    given = [outcome(QUESTION.text, "Kepler"), outcome(QUESTION.text, "xyzzy"), outcome(QUESTION.text, "", CUT)]
    after, said = judged(engine({"Kepler": 0.12, "xyzzy": 6.0}), [*given, given[0]])
    assert [entry.kind for entry in after] == [RIGHT, WRONG, CUT, RIGHT]
    assert (said["unrecorded_answers"], said["accepted"], said["requests"]) == (2, 1, 2)
    assert said["largest_accepted_nats"] == pytest.approx(0.12)


def test_an_answer_without_what_it_has_to_hold_is_not_read_back() -> None:
    after, said = judged(engine({}), [outcome(GOLDEN.text, "It is London.")])
    assert after[0].kind == WRONG and said["unrecorded_answers"] == 0


def test_an_answer_that_ends_where_the_model_goes_on_stays_wrong() -> None:
    after, _ = judged(engine({"Kepler": 0.0}, ended="length"), [outcome(QUESTION.text, "Kepler")])
    assert after[0].kind == WRONG


def test_an_engine_that_does_not_tell_is_an_error() -> None:
    silent = httpx.MockTransport(lambda request: httpx.Response(200, json={"choices": [], "usage": {}}))
    with pytest.raises(ValueError, match="another shape"):
        judged(silent, [outcome(QUESTION.text, "Kepler")])
