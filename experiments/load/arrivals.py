"""When requests are due: seconds from a step's begin, the same for the same seed. Pure.

Each kind gives exactly `rate * seconds` requests (rounded), so that two runs of one step ask for the same work: Poisson
arrivals are those of a Poisson process of which that number is known, which are uniform over the time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from experiments.errors import ExperimentError

CONSTANT, POISSON, BURSTS = "constant", "poisson", "bursts"
KINDS = (CONSTANT, POISSON, BURSTS)


class Arrivals(Protocol):
    """When requests are due. `rate` is what is asked for on average, requests a second."""

    @property
    def rate(self) -> float:
        """Requests a second."""

    @property
    def burstiness(self) -> float:
        """As vLLM's tool has it: shape of the gaps' gamma distribution; 1 Poisson, less is burstier, infinite even."""

    def times(self, draw: random.Random, seconds: float) -> list[float]:
        """Offsets in [0, seconds), in order."""


@dataclass(frozen=True)
class Constant:
    """One request each 1/rate seconds."""

    rate: float
    burstiness: float = math.inf

    def times(self, draw: random.Random, seconds: float) -> list[float]:
        """Even, from 0 on."""
        return [number / self.rate for number in range(_number(self.rate, seconds))]


@dataclass(frozen=True)
class Poisson:
    """Requests that know nothing of each other: what many users are."""

    rate: float
    burstiness: float = 1.0

    def times(self, draw: random.Random, seconds: float) -> list[float]:
        """Uniform over the time."""
        return sorted(draw.random() * seconds for _ in range(_number(self.rate, seconds)))


@dataclass(frozen=True)
class Bursts:
    """Requests that come together: gaps of a gamma distribution, scaled to the rate."""

    rate: float
    burstiness: float = 0.25

    def times(self, draw: random.Random, seconds: float) -> list[float]:
        """Gaps of that shape, of which the sum is the time."""
        gaps = [draw.gammavariate(self.burstiness, 1.0) for _ in range(_number(self.rate, seconds) + 1)]
        whole = sum(gaps)
        return [at / whole * seconds for at in itertools.islice(itertools.accumulate(gaps), len(gaps) - 1)]


@dataclass(frozen=True)
class Replay:
    """Requests at given times: those of a recorded trace, `speed` times as fast."""

    offsets: tuple[float, ...]
    speed: float = 1.0
    burstiness: float = 1.0

    @property
    def rate(self) -> float:
        """Of the whole trace."""
        last = self.offsets[-1] if self.offsets else 0.0
        return len(self.offsets) / last * self.speed if last else 0.0

    def times(self, draw: random.Random, seconds: float) -> list[float]:
        """Those within the time."""
        return [at / self.speed for at in self.offsets if at / self.speed < seconds]


def named(kind: str, rate: float, burstiness: float = 0.0) -> Arrivals:
    """Arrivals by the name of their kind; ExperimentError for one that there is not, or a rate that is none.

    `burstiness` is for bursts; 0 takes their own.
    """
    if not (0 < rate < math.inf):
        raise ExperimentError(f"rate {rate:g}: give requests a second above 0")
    if burstiness and kind != BURSTS:
        raise ExperimentError(f"burstiness {burstiness:g} with {kind} arrivals: it is for {BURSTS}")
    if not (0 <= burstiness < math.inf):
        raise ExperimentError(f"burstiness {burstiness:g}: give a number above 0; less than 1 is burstier than Poisson")
    made: Mapping[str, Arrivals] = {
        CONSTANT: Constant(rate),
        POISSON: Poisson(rate),
        BURSTS: Bursts(rate, burstiness) if burstiness else Bursts(rate),
    }
    if kind not in made:
        raise ExperimentError(f"{kind!r} is no kind of arrivals; choose from {', '.join(KINDS)}")
    return made[kind]


def _number(rate: float, seconds: float) -> int:
    return round(rate * seconds)
