"""Runs -> comparison: interleaved blocks where runs were interleaved, else two sets of runs with what that leaves open.

Pure. Runs that are not valid are left out, with their block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from experiments.comparison import noise
from experiments.comparison.design import A, B, Run
from experiments.comparison.noise import Contrasts, Noise
from experiments.comparison.result import FAMILY, WORTH, Comparison, Difference

INTERLEAVED = "interleaved in blocks"
APART = "one after the other"
LEAST_BLOCKS = 2


def compare_runs(
    runs: Sequence[Run], a: str = A, b: str = B, *, alike: Sequence[Sequence[Run]] = (), family: float = FAMILY
) -> Comparison:
    """Compare the runs of side B with those of side A.

    With at least two whole A/B blocks, block by block; else by sides, where `alike` are further sets of runs of one
    thing each, for the noise. Figures that only one side has are named among the caveats.
    """
    left_out = tuple(run.reason or f"{_name(run)}: not valid" for run in runs if run.reason or not run.valid)
    valid = [run for run in runs if run.valid]
    of_a = [run for run in valid if run.side == A and not run.alike]
    of_b = [run for run in valid if run.side == B and not run.alike]
    figures, caveats = _shared(of_a, of_b)
    seen = {figure: noise.contrasts(valid, figure) for figure in figures}
    blocks = [figure for figure in figures if len(seen[figure].different) >= LEAST_BLOCKS]
    level = family / max(len(figures), 1)
    if blocks:
        found = [_by_block(of_a, of_b, figure, seen[figure], level) for figure in blocks]
        caveats += [
            f"{figure}: in fewer than {LEAST_BLOCKS} whole blocks" for figure in figures if figure not in blocks
        ]
        caveats += _order({figure: seen[figure].alike for figure in blocks}, level)
        if not any(run.alike for run in valid):
            caveats.append("no A/A blocks: the noise is that of the A/B blocks about their mean")
        return Comparison(a, b, INTERLEAVED, len(valid), left_out, tuple(found), tuple(caveats))
    found = [_by_side(of_a, of_b, alike, figure, level) for figure in figures]
    caveats += _apart(of_a, of_b, alike)
    return Comparison(a, b, APART, len(valid), left_out, tuple(found), tuple(caveats))


def smallest_effects(runs: Sequence[Run], planned: int, family: float = FAMILY) -> dict[str, float | None]:
    """From A/A blocks alone: for each figure the smallest change (ratio less one) that `planned` A/B blocks find.

    None where no A/A block has the figure whole.
    """
    figures = sorted({figure for run in runs if run.valid and run.alike for figure in run.figures})
    found: dict[str, float | None] = {}
    for figure in figures:
        seen = noise.of_alike_blocks(noise.contrasts(runs, figure), planned)
        found[figure] = None if seen is None else _change(noise.smallest_effect(seen, family / len(figures)))
    return found


def _shared(of_a: Sequence[Run], of_b: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Figures that some run of each side has as a positive number, and words for the others."""
    if not of_a or not of_b:
        return [], ["no valid run of " + " and of ".join(name for name, side in ((A, of_a), (B, of_b)) if not side)]
    sides = [{name for run in side for name, value in run.figures.items() if value > 0} for side in (of_a, of_b)]
    alone = sorted(sides[0] ^ sides[1])
    return sorted(sides[0] & sides[1]), [f"{figure}: on one side only; not compared" for figure in alone]


def _by_block(of_a: Sequence[Run], of_b: Sequence[Run], figure: str, seen: Contrasts, level: float) -> Difference:
    shift = float(np.mean(seen.different))
    return _difference(figure, _mean(of_a, figure), _mean(of_b, figure), shift, noise.of_blocks(seen), level)


def _by_side(
    of_a: Sequence[Run], of_b: Sequence[Run], alike: Sequence[Sequence[Run]], figure: str, level: float
) -> Difference:
    one, other, *more = (
        [math.log(run.figures[figure]) for run in runs if run.valid and run.figures.get(figure, 0.0) > 0]
        for runs in (of_a, of_b, *alike)
    )
    shift = float(np.mean(other) - np.mean(one))
    seen = noise.of_sides(one, other, more)
    return _difference(figure, _mean(of_a, figure), _mean(of_b, figure), shift, seen, level)


def _difference(figure: str, a: float, b: float, shift: float, seen: Noise | None, level: float) -> Difference:
    if seen is None:
        return Difference(figure, a, b, math.expm1(shift), None, None, None, None, None, "one run a side")
    reach = noise.student(1 - level / 2, seen.freedom) * seen.error
    low, high = _change(shift - reach), _change(shift + reach)
    # What is found lies outside of its interval, and is worth a word as well.
    worded = math.log1p(WORTH) + noise.student(noise.POWER, seen.freedom) * seen.error
    smallest = max(noise.smallest_effect(seen, level), worded)
    differs = (low > 0 or high < 0) and abs(math.expm1(shift)) >= WORTH
    return Difference(
        figure=figure,
        a=a,
        b=b,
        change=math.expm1(shift),
        low=low,
        high=high,
        noise=_change(seen.deviation),
        smallest=_change(smallest),
        differs=differs,
        source=seen.source,
    )


def _change(logarithm: float) -> float:
    """A ratio less one; beyond all that is ever told apart it is infinite."""
    return math.expm1(logarithm) if logarithm < 100 else math.inf


def _mean(runs: Sequence[Run], figure: str) -> float:
    values = [run.figures[figure] for run in runs if run.figures.get(figure, 0.0) > 0]
    return math.exp(float(np.mean(np.log(values)))) if values else math.nan


def _order(seen: Mapping[str, Sequence[float]], level: float) -> list[str]:
    """Whether A/A blocks show a difference between sides, which then is the order's and not the thing's."""
    said = []
    for figure, alike in seen.items():
        if len(alike) >= 3 and np.std(alike) > 0:
            chance = float(stats.ttest_1samp(alike, 0.0).pvalue)
            if chance < level and abs(math.expm1(float(np.mean(alike)))) >= WORTH:
                said.append(f"{figure}: even A/A blocks differ between their sides; the order of runs shows in it")
    return said


def _apart(of_a: Sequence[Run], of_b: Sequence[Run], alike: Sequence[Sequence[Run]]) -> list[str]:
    if not of_a or not of_b:
        return []
    gap = max(min(run.began for run in of_b) - max(run.began for run in of_a), 0.0)
    gap = max(gap, min(run.began for run in of_a) - max(run.began for run in of_b))
    said = ["A and B were not interleaved: what changed on the cluster between them is part of the difference"]
    if gap > 3600:
        said[0] += f" ({gap / 3600:.0f} h lie between)"
    if len(of_a) + len(of_b) == 2 and not any(len(runs) > 1 for runs in alike):
        said.append(
            "one run a side says nothing of the noise between runs: repeat with -e llm_benchmark_iterations=4, "
            "or give bundles of runs alike"
        )
    return said


def _name(run: Run) -> str:
    place = "" if run.block is None else f" (block {run.block}, place {run.place})"
    return f"run of {run.side}{place}"
