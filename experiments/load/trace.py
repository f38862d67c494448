"""A recorded load with its times, in the format that `vllm bench serve --dataset-name timed_trace` reads.

JSON lines, each a request: `timestamp`, `input_length`, `output_length` (tokens) and `hash_ids`, one for each block of
the prompt; equal blocks have equal ids, so that shared prefixes come back. Moonshot's published traces are of this
kind, with milliseconds and blocks of 512 tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load.arrivals import Replay
from experiments.load.lengths import Lengths
from experiments.load.prompts import Prompt, Prompts, words

BLOCK_TOKENS = 16


@dataclass(frozen=True)
class Entry:
    """One request of a trace: seconds since the trace's begin, tokens, and the ids of its blocks."""

    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """A trace in the order of its times: arrivals and prompts of a step."""

    entries: tuple[Entry, ...]
    block_tokens: int = BLOCK_TOKENS

    def arrivals(self, speed: float = 1.0) -> Replay:
        """Its times, `speed` times as fast; ExperimentError for a speed that is none."""
        if not 0 < speed < float("inf"):
            raise ExperimentError(f"speed {speed:g} of a trace: give a number above 0, 2 for twice as fast")
        return Replay(tuple(entry.at for entry in self.entries), speed)

    def begin(self, seed: int, output_lengths: Lengths) -> Prompts:
        """Its prompts; lengths are the trace's own."""
        return _Replayed(self, seed)


class _Replayed:
    def __init__(self, trace: Trace, seed: int) -> None:
        self._trace, self._seed, self._taken = trace, seed, 0

    def take(self) -> Prompt | None:
        if self._taken >= len(self._trace.entries):
            return None
        entry = self._trace.entries[self._taken]
        self._taken += 1
        text = " ".join(self._pieces(entry))
        group = entry.blocks[0] if entry.blocks else -1
        message = {"role": "user", "content": text}
        return Prompt((message,), entry.output_tokens, Question(text, entry.output_tokens), group)

    def _pieces(self, entry: Entry) -> Iterator[str]:
        """Each block's words come from its id alone; what no block stands for is this request's own."""
        left = entry.input_tokens
        for block in entry.blocks:
            size = min(self._trace.block_tokens, left)
            if not size:
                return
            yield words(random.Random(f"{self._seed}/block/{block}"), size)
            left -= size
        if left:
            yield words(random.Random(f"{self._seed}/rest/{self._taken}"), left)

    def came(self, prompt: Prompt, answer: str | None) -> None:
        """Nothing: a trace has its turns written out."""


def read(path: Path, *, seconds_a_unit: float = 1.0, block_tokens: int = BLOCK_TOKENS) -> Trace:
    """Read a trace; ExperimentError with the line and the field that is no such trace's.

    `seconds_a_unit` is 0.001 for a trace in milliseconds.
    """
    if not (0 < seconds_a_unit < float("inf") and block_tokens > 0):
        raise ExperimentError(
            f"{path}: a unit of {seconds_a_unit:g} s and blocks of {block_tokens} tokens; give both above 0"
        )
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{path}: {getattr(error, 'strerror', None) or 'no text'}; give a trace in JSON lines"
        ) from None
    entries = [
        _entry(line, f"{path} line {number}", seconds_a_unit) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not entries:
        raise ExperimentError(f"{path}: no request in it; give a trace in JSON lines")
    return Trace(tuple(sorted(entries, key=lambda entry: entry.at)), block_tokens)


def _entry(line: str, where: str, seconds_a_unit: float) -> Entry:
    try:
        found: Any = json.loads(line)
    except ValueError:
        raise ExperimentError(f"{where}: no JSON") from None
    if not isinstance(found, dict):
        raise ExperimentError(f"{where}: no JSON object")
    blocks: Sequence[Any] = found.get("hash_ids") or []
    if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
        raise ExperimentError(f"{where}: hash_ids is no list of whole numbers")
    at = found.get("timestamp")
    if not isinstance(at, int | float) or isinstance(at, bool) or not 0 <= at < float("inf"):
        raise ExperimentError(f"{where}: timestamp is {at!r}; it has to be a number from 0 on")
    return Entry(
        at * seconds_a_unit,
        _tokens(found, "input_length", where),
        _tokens(found, "output_length", where),
        tuple(blocks),
    )


def _tokens(found: dict[str, Any], name: str, where: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ExperimentError(f"{where}: {name} is {value!r}; it has to be a whole number of tokens from 1 on")
    return value
