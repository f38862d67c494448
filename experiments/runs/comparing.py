"""Two experiments run in turns, to be compared: A/A blocks first, then blocks in which A and B change places.

Each turn leaves a bundle of its own. What drifts while it lasts weighs on both sides alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.comparison.design import A, Turn, turns
from experiments.configuration.suites import Given, Suite
from experiments.load.client import clock
from experiments.runs import deploying, run
from experiments.runs.errors import RunError
from experiments.runs.order import DEPLOY, Order
from experiments.runs.suite import resolve_all
from operate import ownership
from operate.progress import Progress


@dataclass
class Sides:
    """Bundles by what they are for, in the order in which they were run."""

    a: list[Path] = field(default_factory=list)
    b: list[Path] = field(default_factory=list)
    alike: list[Path] = field(default_factory=list)


def run_in_turns(
    given: str,
    suites: tuple[Suite, Suite],
    extra: Given,
    progress: Progress,
    *,
    alike: int,
    blocks: int,
    tags: frozenset[str],
    fetched: Path,
) -> Sides:
    """Run the two experiments of `suites` in turns: `alike` A/A blocks and `blocks` A/B blocks of four runs each.

    RunError for a suite of more than one experiment; what ends one run ends all of it, with the bundles so far kept.
    """
    cluster = ownership.load(given)
    for suite in suites:
        if len(suite.experiments) != 1:
            raise RunError(f"{suite.name} has {len(suite.experiments)} experiments; compare files of one each")
    try:
        plan = turns(alike, blocks)
    except ValueError as error:
        raise RunError(str(error)) from None
    both = {side: resolve_all(suite, extra, cluster, tags)[0] for side, suite in zip("AB", suites, strict=True)}
    sides, began = Sides(), clock()
    try:
        for number, turn in enumerate(plan):
            progress.phase(f"turn {number + 1} of {len(plan)}: {turn.measured}{' (A/A)' if turn.alike else ''}")
            origin = {"compared": [suite.name for suite in suites], "suite_began": began, "position": number}
            order = Order(given, both[turn.measured], tags, fetched, origin=origin)
            _side(sides, turn).append(run.run(order, progress).bundle)
    except BaseException:
        deploying.forget(given)
        raise
    if DEPLOY in tags:
        deploying.restore(given, progress)
    return sides


def _side(sides: Sides, turn: Turn) -> list[Path]:
    if turn.alike:
        return sides.alike
    return sides.a if turn.side == A else sides.b


def said(sides: Sides) -> Sequence[str]:
    """The bundles, for a person who wants to compare them again."""
    return [f"{name}: {', '.join(path.name for path in paths)}" for name, paths in vars(sides).items() if paths]
