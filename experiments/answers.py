"""Questions with known answers, what became of one request, and the judgement between them. Pure; unix seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from facts.programs.golden import is_right

RIGHT = "right"
# A whole answer to a question that nobody judges.
ANSWERED = "answered"
WRONG = "wrong"
# A whole answer by HTTP's rules that lacks the protocol's end mark: whoever reads it takes a part for the whole.
TRUNCATED = "truncated"
REFUSED = "refused in OpenAI's shape"
UNCLEAR = "refused in another shape"
IN_STREAM = "error in the answer"
CUT = "connection cut"
UNREACHABLE = "no connection"
HUNG = "hung"
# The client was stopped and did not wait for the end: says nothing of the server.
GIVEN_UP = "given up by the client"

KINDS = (RIGHT, ANSWERED, WRONG, TRUNCATED, REFUSED, UNCLEAR, IN_STREAM, CUT, UNREACHABLE, HUNG, GIVEN_UP)
# Whole answers that nothing speaks against.
GOOD = frozenset({RIGHT, ANSWERED})
# What a client can tell from an answer by itself, and ask again.
CLEAR_FAILURES = frozenset({REFUSED, IN_STREAM, CUT, UNREACHABLE})
DELIVERED_WRONG = frozenset({WRONG, TRUNCATED})
FINISHED = frozenset({"stop", "length"})


@dataclass(frozen=True)
class Question:
    """What is asked at temperature 0. `expected` has to be in the answer; `answers` are those recorded in health."""

    text: str
    max_tokens: int
    expected: str = ""
    answers: frozenset[str] = frozenset()

    def complaint(self, answer: str) -> str:
        """Why `answer` is wrong; empty when it is right."""
        if self.expected and not is_right(self.expected, answer):
            return f"lacks {self.expected!r}: {answer[:120]!r}"
        if self.answers and answer not in self.answers:
            return f"not among {len(self.answers)} recorded answers: {answer[:120]!r}"
        return ""


@dataclass(frozen=True)
class Outcome:
    """One request. Times are unix seconds; `first_byte` is None when nothing came, `node` empty when nobody said."""

    number: int
    question: str
    streamed: bool
    started: float
    first_byte: float | None
    ended: float
    status: int
    node: str
    replica: str
    kind: str
    detail: str = ""
    answer: str = ""

    @property
    def seconds(self) -> float:
        """From the start to the end of the answer."""
        return self.ended - self.started

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return dict(vars(self))


@dataclass
class Reading:
    """What came of an answer so far. `finish` is the finish reason, `done` the stream's end mark.

    `prompt_tokens` and `output_tokens` as the server counted them; 0 where it did not say.
    """

    status: int = 0
    pieces: list[str] = field(default_factory=list)
    finish: str = ""
    done: bool = False
    error: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return "".join(self.pieces)

    def stream_line(self, line: str) -> bool:
        """Take one line of a stream of server-sent events; whether it brought a piece of the answer.

        A line that is no JSON ends in `error`. What a model says before its answer (reasoning) is a piece too, though
        not of the text.
        """
        if not line.startswith("data:"):
            return False
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self.done = True
            return False
        try:
            return self._chunk(json.loads(data), "delta")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.error = f"{type(error).__name__} {error} in {data[:120]}"
            return False

    def whole(self, body: bytes) -> None:
        """Take a whole answer. A body of another shape leaves no end mark."""
        try:
            self._chunk(json.loads(body), "message")
            self.done = bool(self.finish)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.done = False

    def _chunk(self, chunk: Mapping[str, Any], part: str) -> bool:
        if chunk.get("error"):
            self.error = str(chunk["error"].get("message") or chunk["error"])[:200]
            return False
        said = False
        for choice in chunk["choices"]:
            message = choice.get(part) or {}
            content = message.get("content") or ""
            self.pieces.append(content)
            said = said or bool(content or message.get("reasoning") or message.get("reasoning_content"))
            self.finish = choice.get("finish_reason") or self.finish
        if usage := chunk.get("usage"):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.output_tokens = int(usage.get("completion_tokens") or 0)
        return said


def openai_error(body: bytes) -> str:
    """The message of an error in OpenAI's shape; empty for any other shape."""
    try:
        error = json.loads(body)["error"]
        return f"{error['type']}: {error['message']}"[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def judge(question: Question, reading: Reading) -> tuple[str, str]:
    """(kind, detail) of an answer with status 200 that ended by HTTP's rules."""
    if reading.error:
        return IN_STREAM, reading.error
    if reading.finish and reading.finish not in FINISHED:
        return IN_STREAM, f"finish reason {reading.finish}"
    if not (reading.finish and reading.done):
        return TRUNCATED, f"ended without its end mark: {reading.text[-120:]!r}"
    complaint = question.complaint(reading.text)
    return (WRONG, complaint) if complaint else (RIGHT, "")


def recorded(questions: Sequence[Question], outcomes: Sequence[Outcome], least: int = 2) -> list[Question]:
    """Questions with the answers that were given in health at least `least` times.

    Batches of other sizes may round differently, so one question can have several right answers. A question whose
    most frequent answer is not the majority is left out: nothing that it is answered says much.
    """
    found = []
    for question in questions:
        given = [entry.answer for entry in outcomes if entry.question == question.text and entry.kind == RIGHT]
        counted = Counter(given)
        if not counted or 2 * counted.most_common(1)[0][1] <= len(given):
            continue
        answers = frozenset(answer for answer, times in counted.items() if times >= least)
        if answers:
            found.append(replace(question, answers=answers))
    return found


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Kind -> number of requests, every kind that there is, in a fixed order."""
    counted = Counter(entry.kind for entry in outcomes)
    return {kind: counted[kind] for kind in KINDS if counted[kind]}
