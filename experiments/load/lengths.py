"""Lengths of prompts and answers in tokens, as distributions that are written in one word. Pure."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from experiments.errors import ExperimentError

MOST_TOKENS = 1_000_000
_HOW = "128, uniform:64-256, normal:256,64, lognormal:256,0.5 (median and sigma), exponential:256 or list:12,80,80,900"
_KINDS: dict[str, tuple[str, range]] = {
    "fixed": (",", range(1, 2)),
    "uniform": ("-", range(2, 3)),
    "normal": (",", range(2, 3)),
    "lognormal": (",", range(2, 3)),
    "exponential": (",", range(1, 2)),
    "list": (",", range(1, 100_000)),
}


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths: `kind` and its numbers, as `parse` reads them. No length is below 1 token."""

    kind: str
    values: tuple[float, ...]

    def sample(self, draw: random.Random) -> int:
        """One length in tokens."""
        return min(max(1, round(_SAMPLES[self.kind](draw, self.values))), MOST_TOKENS)

    @property
    def mean(self) -> float:
        """Of the distribution as it was written, in tokens; the bounds at 1 and at the most change it a little."""
        first, *rest = self.values
        match self.kind:
            case "uniform" | "list":
                return statistics.fmean(self.values)
            case "lognormal":
                return first * math.exp(rest[0] ** 2 / 2)
        return first

    def __str__(self) -> str:
        separator, _ = _KINDS[self.kind]
        said = separator.join(f"{value:g}" for value in self.values)
        return said if self.kind == "fixed" else f"{self.kind}:{said}"


_SAMPLES: dict[str, Callable[[random.Random, tuple[float, ...]], float]] = {
    "fixed": lambda draw, values: values[0],
    "uniform": lambda draw, values: draw.randint(int(values[0]), int(values[1])),
    "normal": lambda draw, values: draw.gauss(values[0], values[1]),
    "lognormal": lambda draw, values: draw.lognormvariate(math.log(values[0]), values[1]),
    "exponential": lambda draw, values: draw.expovariate(1 / values[0]),
    "list": lambda draw, values: draw.choice(values),
}


def fixed(tokens: int) -> Lengths:
    """Always the same."""
    return parse(tokens)


def parse(given: str | int) -> Lengths:
    """Read a distribution; ExperimentError with the ways to write one."""
    text = str(given).strip()
    kind, colon, numbers = text.partition(":")
    if not colon:
        kind, numbers = "fixed", text
    if kind not in _KINDS:
        raise ExperimentError(f"lengths {text!r}: no distribution {kind!r}; write {_HOW}")
    separator, wanted = _KINDS[kind]
    try:
        values = tuple(float(number) for number in numbers.split(separator))
    except ValueError:
        raise ExperimentError(f"lengths {text!r}: no numbers of tokens; write {_HOW}") from None
    if len(values) not in wanted:
        raise ExperimentError(f"lengths {text!r}: {len(values)} numbers; write {_HOW}")
    tokens = values[:1] if kind in ("normal", "lognormal") else values
    if not all(1 <= value <= MOST_TOKENS for value in tokens) or not all(0 <= value < MOST_TOKENS for value in values):
        raise ExperimentError(f"lengths {text!r}: give 1 to {MOST_TOKENS} tokens; write {_HOW}")
    if kind == "uniform" and values[0] > values[1]:
        raise ExperimentError(f"lengths {text!r}: the least is above the most; write {_HOW}")
    if kind in ("fixed", "uniform") and any(value != int(value) for value in values):
        raise ExperimentError(f"lengths {text!r}: give whole tokens; write {_HOW}")
    return Lengths(kind, values)
