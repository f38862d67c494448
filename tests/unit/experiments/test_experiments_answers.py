"""Recorded answers, and the arithmetic that tables are made of."""

from __future__ import annotations

import pytest

from experiments import answers
from experiments.answers import Outcome, Question, Reading, recorded
from experiments.measures import percentile


def outcome(question: str, answer: str, kind: str = answers.RIGHT) -> Outcome:
    return Outcome(0, question, True, 0, 0, 1, 200, "compute0", "r", kind, "", answer)


def test_recorded_keeps_every_answer_given_twice_and_drops_questions_without_a_majority() -> None:
    capital, unsure, unasked = Question("capital", 8, "Paris"), Question("unsure", 8), Question("unasked", 8)
    given = [outcome("capital", "Paris.") for _ in range(5)]
    given += [outcome("capital", "It is Paris."), outcome("capital", "It is Paris."), outcome("capital", "Paris!")]
    given += [outcome("capital", "Rome", answers.WRONG) for _ in range(20)]
    given += [outcome("unsure", text) for text in ("a", "a", "b", "b")]
    found = recorded([capital, unsure, unasked], given)
    assert [question.text for question in found] == ["capital"]
    assert found[0].answers == {"Paris.", "It is Paris."}
    assert found[0].complaint("Paris.") == ""
    assert "not among 2 recorded" in found[0].complaint("Paris!")
    assert "lacks 'Paris'" in found[0].complaint("Rome")


def test_a_line_of_a_stream_that_is_no_json_is_an_error_of_the_answer() -> None:
    reading = Reading(status=200)
    for line in (": ping", "", 'data: {"choices": [{"delta": {"content": "a"}}]}', "data: {broken"):
        reading.stream_line(line)
    assert reading.text == "a"
    assert answers.judge(Question("q", 1), reading)[0] == answers.IN_STREAM


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": "busy"}', b'{"error": {"message": "m"}}', b"<html>"])
def test_an_error_in_another_shape_is_not_openai_s(body: bytes) -> None:
    assert answers.openai_error(body) == ""


def test_percentile() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, share) for share in (0, 0.5, 1)] == [1.0, 2.5, 4.0]
    assert percentile([*range(101)], 0.99) == 99
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None
    with pytest.raises(ValueError, match="give 0 to 1"):
        percentile(values, 99)
