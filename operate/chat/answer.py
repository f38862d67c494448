"""One answer: its text, who gave it, how fast. Times are seconds on the monotonic clock of this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STOPPED = "stopped"
"""`finish_reason` of an answer that the operator stopped; the others are OpenAI's: stop, length, ..."""


@dataclass(frozen=True)
class Piece:
    """Text as it arrives. `thinking`: the model's reasoning, which is no part of its answer."""

    text: str
    thinking: bool = False


@dataclass
class Answer:
    """Filled while it arrives, so that what came before a failure is there.

    `completion_tokens` is the engine's own count once it has told it; until then, and in an answer that was cut off, it
    is the number of pieces, of which vLLM sends one a token.
    """

    question: str
    started: float
    answer: str = ""
    node: str = ""
    address: str = ""
    replica: str = ""
    model: str = ""
    completion_tokens: int = 0
    finish_reason: str = ""
    error: str = ""
    cause: Exception | None = field(default=None, repr=False)
    first: float | None = field(default=None, repr=False)
    last: float | None = field(default=None, repr=False)

    def add(self, piece: Piece, now: float) -> None:
        """One more piece."""
        if self.first is None:
            self.first = now
        self.last = now
        self.completion_tokens += 1
        if not piece.thinking:
            self.answer += piece.text

    @property
    def ttft_seconds(self) -> float | None:
        """From the start of the request to the first piece of text; None when none came."""
        return None if self.first is None else round(self.first - self.started, 4)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token, which waits for the prompt to be read; None for fewer than two tokens."""
        if self.first is None or self.last is None or self.completion_tokens < 2 or self.last <= self.first:
            return None
        return round((self.completion_tokens - 1) / (self.last - self.first), 2)

    def to_json(self) -> dict[str, Any]:
        """The stable shape of `cluster chat --json`; `error` is only there when the answer is not whole."""
        said = {
            "question": self.question,
            "answer": self.answer,
            "node": self.node,
            "address": self.address,
            "replica": self.replica,
            "model": self.model,
            "ttft_seconds": self.ttft_seconds,
            "tokens_per_second": self.tokens_per_second,
            "completion_tokens": self.completion_tokens,
        }
        return {**said, "error": self.error} if self.error else {**said, "finish_reason": self.finish_reason}
