"""How much alike runs differ, and the smallest effect that shows through it. Pure; figures as logarithms.

The unit is the run, or the block of runs, never the request: requests of one run share its queue, its batches and its
machine's mood, so a thousand of them are no thousand observations. A figure of a run is taken as its logarithm, so
that a difference is a ratio and runs of unlike loads have noise of one size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special, stats

from experiments.comparison.design import RUNS_OF_A_BLOCK, A, B, Run

POWER = 0.9
# An A/B block whose noise is larger than that of A/A blocks by more than chance: then A/A says nothing about it.
UNLIKE_NOISE = 0.01


@dataclass(frozen=True)
class Contrasts:
    """log(B / A) of each whole block, for one figure: of A/A blocks, where it is noise, and of A/B blocks."""

    alike: tuple[float, ...]
    different: tuple[float, ...]


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one observation (log), the freedom that it was reckoned with, and from what.

    `observations` is how many of them the difference is the mean of: 1 / observations is its variance in units of the
    standard deviation's square. Two sets of n runs that are not paired have n / 2.
    """

    deviation: float
    freedom: int
    observations: float
    source: str

    @property
    def error(self) -> float:
        """Standard error of the difference (log)."""
        return self.deviation / math.sqrt(self.observations)


def contrasts(runs: Iterable[Run], figure: str) -> Contrasts:
    """Of every block with four valid runs that have the figure; others are left out."""
    blocks: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        if run.block is not None and run.valid and run.figures.get(figure, 0.0) > 0:
            blocks[run.block].append(run)
    found: dict[bool, list[float]] = {True: [], False: []}
    for _, members in sorted(blocks.items()):
        if len(members) == RUNS_OF_A_BLOCK:
            of = {side: [math.log(run.figures[figure]) for run in members if run.side == side] for side in (A, B)}
            if len(of[A]) == len(of[B]):
                found[members[0].alike].append(float(np.mean(of[B]) - np.mean(of[A])))
    return Contrasts(tuple(found[True]), tuple(found[False]))


def of_blocks(seen: Contrasts) -> Noise | None:
    """Noise of a block: A/A blocks, whose true difference is nought, and A/B blocks about their mean, together.

    Where A/B blocks are the noisier by more than chance only they count. None below two A/B blocks or one of freedom.
    """
    alike, different = np.asarray(seen.alike), np.asarray(seen.different)
    if different.size < 2:
        return None
    of_different = float(((different - different.mean()) ** 2).sum())
    of_alike = float((alike**2).sum())
    freedom = int(different.size - 1)
    if alike.size and of_alike > 0:
        larger = (of_different / freedom) / (of_alike / alike.size)
        if float(special.fdtrc(freedom, alike.size, larger)) < UNLIKE_NOISE:
            source = f"{different.size} A/B blocks, which differ more than the {alike.size} A/A blocks"
            return Noise(math.sqrt(of_different / freedom), freedom, float(different.size), source)
    freedom += int(alike.size)
    source = f"{alike.size} A/A and {different.size} A/B blocks"
    return Noise(math.sqrt((of_different + of_alike) / freedom), freedom, float(different.size), source)


def of_alike_blocks(seen: Contrasts, planned: int) -> Noise | None:
    """What A/A blocks alone say, before `planned` A/B blocks are run; None without one."""
    alike = np.asarray(seen.alike)
    if not alike.size or planned < 1:
        return None
    return Noise(math.sqrt(float((alike**2).mean())), int(alike.size), float(planned), f"{alike.size} A/A blocks")


def of_sides(one: Sequence[float], other: Sequence[float], more: Sequence[Sequence[float]] = ()) -> Noise | None:
    """Noise of a run where sides were not interleaved: runs of one side about their mean, both sides together.

    Values are logarithms; `more` are further sets of runs alike. None without a side or a set that has two runs.
    """
    sets = [np.asarray(values, dtype=float) for values in (one, other, *more)]
    freedom = sum(max(values.size - 1, 0) for values in sets)
    if freedom < 1 or not one or not other:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in sets if values.size)
    observations = 1 / (1 / len(one) + 1 / len(other))
    runs = sum(values.size for values in sets if values.size > 1)
    return Noise(math.sqrt(squares / freedom), freedom, observations, f"{runs} runs beside others of the same side")


def student(place: float, freedom: float) -> float:
    """The point below which Student's t lies with probability `place`."""
    return float(special.stdtrit(freedom, place))


def smallest_effect(noise: Noise, level: float, power: float = POWER) -> float:
    """The smallest true difference (log) that a two-sided test at `level` finds with `power`."""
    return noise.error * _shift(noise.freedom, level, power) if noise.deviation else 0.0


@cache
def _shift(freedom: int, level: float, power: float) -> float:
    """The same in standard errors; the test's t is then distributed as the noncentral t. Infinite past all reason."""
    point = student(1 - level / 2, freedom)

    def short(shift: float) -> float:
        found = float(stats.nct.sf(point, freedom, shift))
        return (found if math.isfinite(found) else 0.0) - power

    highest = point + 10.0
    while short(highest) < 0:
        highest *= 2
        if highest > 1e4:
            return math.inf
    return float(optimize.brentq(short, 1e-9, highest, xtol=1e-6))


def blocks_needed(noise: Noise, effect: float, level: float, power: float = POWER, most: int = 64) -> int | None:
    """A/B blocks that find an effect (log) with `power`, when blocks are as noisy as said; None past `most`."""
    for blocks in range(2, most + 1):
        freedom = max(noise.freedom, blocks - 1)
        if smallest_effect(Noise(noise.deviation, freedom, float(blocks), noise.source), level, power) <= effect:
            return blocks
    return None
