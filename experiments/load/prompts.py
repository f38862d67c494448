"""What is asked: prompts of drawn lengths, in conversations of several turns, with prefixes that groups of them share.

Lengths count words, each of which common tokenizers take as one token; what an engine counted stands in the records.
The same seed gives the same prompts. Pure.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load.lengths import Lengths, fixed

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend father power hour game line end member law car city name team minute idea body back parent face
others level office door health person art war history party result change morning reason research girl guy
moment air teacher force education
"""
WORDS = tuple(_TEXT.split())
Message = dict[str, str]


@dataclass(eq=False)
class Conversation:
    """What was said so far, and how many turns are to come. `group` -1: its prefix is its own."""

    messages: list[Message]
    turns_left: int
    group: int = -1
    turn: int = -1


@dataclass(frozen=True, eq=False)
class Prompt:
    """One request's messages. The answer is judged where `question` says what has to be in it."""

    messages: Sequence[Message]
    max_tokens: int
    question: Question
    prefix_group: int = -1
    turn: int = 0
    conversation: Conversation | None = None

    @property
    def checked(self) -> bool:
        """Whether a right answer is known."""
        return bool(self.question.expected or self.question.answers)


class Prompts(Protocol):
    """Prompts of one step, one after the other."""

    def take(self) -> Prompt | None:
        """The next one; None when there are no more."""

    def came(self, prompt: Prompt, answer: str | None) -> None:
        """What was answered; None when no whole answer came."""


class PromptSource(Protocol):
    """Where a step's prompts come from; plain values, so that a step can be begun twice."""

    def begin(self, seed: int, output_lengths: Lengths) -> Prompts:
        """The prompts of that seed."""


@dataclass(frozen=True)
class Synthetic:
    """Random words. Conversations of `turns`; each of `groups` begins with `prefix_tokens` words of its own.

    With `golden`, each `golden_every`th request asks that question instead, so that answers are judged meanwhile.
    """

    input_lengths: Lengths
    turns: Lengths = field(default_factory=lambda: fixed(1))
    groups: int = 0
    prefix_tokens: int = 0
    golden: Question | None = None
    golden_every: int = 20

    def __post_init__(self) -> None:
        if self.groups < 0 or self.prefix_tokens < 0 or bool(self.groups) != bool(self.prefix_tokens):
            raise ExperimentError(
                f"{self.groups} groups with prefixes of {self.prefix_tokens} tokens: give both above 0, or neither"
            )
        if self.golden is not None and self.golden_every < 1:
            raise ExperimentError(f"golden_every {self.golden_every}: give 1 or more, 20 for one request in 20")

    def begin(self, seed: int, output_lengths: Lengths) -> Prompts:
        """The prompts of that seed."""
        return _Drawn(self, seed, output_lengths)


class _Drawn:
    def __init__(self, source: Synthetic, seed: int, output_lengths: Lengths) -> None:
        self._source, self._output_lengths = source, output_lengths
        self._draw = random.Random(f"{seed}/prompts")
        self._prefixes = [
            words(random.Random(f"{seed}/prefix/{group}"), source.prefix_tokens) for group in range(source.groups)
        ]
        # Conversations that had their answer and go on: before new ones begin, so that the rate stays what it is.
        self._ready: deque[Conversation] = deque()
        self._taken = 0

    def take(self) -> Prompt:
        self._taken += 1
        golden = self._source.golden
        if golden is not None and self._taken % self._source.golden_every == 0:
            return asking(golden)
        conversation = self._ready.popleft() if self._ready else self._begin()
        conversation.turn += 1
        conversation.turns_left -= 1
        text = words(self._draw, self._source.input_lengths.sample(self._draw))
        conversation.messages.append({"role": "user", "content": text})
        most = self._output_lengths.sample(self._draw)
        return Prompt(
            tuple(conversation.messages),
            most,
            Question(text, most),
            conversation.group,
            conversation.turn,
            conversation,
        )

    def _begin(self) -> Conversation:
        turns = self._source.turns.sample(self._draw)
        if not self._prefixes:
            return Conversation([], turns)
        group = self._draw.randrange(len(self._prefixes))
        return Conversation([{"role": "system", "content": self._prefixes[group]}], turns, group)

    def came(self, prompt: Prompt, answer: str | None) -> None:
        conversation = prompt.conversation
        if conversation is not None and conversation.turns_left > 0 and answer is not None:
            conversation.messages.append({"role": "assistant", "content": answer})
            self._ready.append(conversation)


@dataclass(frozen=True)
class Questions:
    """The same questions in turn, each with its own length; judged where the question says what is right."""

    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        if not self.questions:
            raise ExperimentError("no questions to ask; give one at least")

    def begin(self, seed: int, output_lengths: Lengths) -> Prompts:
        """Beginning with the first; seed and lengths change nothing."""
        return _InTurn(self.questions)


class _InTurn:
    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions, self._taken = questions, 0

    def take(self) -> Prompt:
        question = self._questions[self._taken % len(self._questions)]
        self._taken += 1
        return asking(question)

    def came(self, prompt: Prompt, answer: str | None) -> None:
        """Nothing follows from an answer."""


def asking(question: Question) -> Prompt:
    """A prompt that is one question."""
    return Prompt(({"role": "user", "content": question.text},), question.max_tokens, question)


def words(draw: random.Random, number: int) -> str:
    """So many random words."""
    return " ".join(draw.choices(WORDS, k=number))
