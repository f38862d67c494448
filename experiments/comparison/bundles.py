"""Two bundles compared: what `cluster experiment compare A B` shows. Reads the bundles' files only.

A run is one iteration of the bundle's load steps (`rate=4 #2` is the second of `rate=4`). Several bundles a side may be
given; where they were run in turns (A B B A, B A A B) they are compared block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bundle import layout, writing
from experiments.comparison.analysis import compare_runs
from experiments.comparison.design import RUNS_OF_A_BLOCK, A, B, Run
from experiments.comparison.figures import figures
from experiments.comparison.result import Comparison
from experiments.errors import ExperimentError
from experiments.load import records
from experiments.verdict import requests as columns
from experiments.verdict import steady
from experiments.verdict.requests import Requests

Bundles = Path | Sequence[Path]


def compare(bundle_a: Bundles, bundle_b: Bundles, *, alike: Sequence[Path] = ()) -> Comparison:
    """Compare bundle B with bundle A, or several with several. `alike`: further bundles of A, for the noise alone;
    where A and B took turns, each four of them are an A/A block.

    ExperimentError where a bundle has no requests, or both sides are one bundle.
    """
    sides = [[bundle] if isinstance(bundle, Path) else list(bundle) for bundle in (bundle_a, bundle_b)]
    if not all(sides):
        raise ExperimentError("nothing to compare on one side; give a bundle for each of A and B")
    both = {path.resolve() for path in sides[0]} & {path.resolve() for path in sides[1]}
    if both:
        raise ExperimentError(f"{sorted(both)[0]}: is on both sides; compare two bundles")
    by_bundle = [(side, runs_of(path, side)) for side, bundles in zip((A, B), sides, strict=True) for path in bundles]
    names = [", ".join(path.name for path in bundles) for bundles in sides]
    more = [runs_of(path, A) for path in alike]
    blocked = in_blocks([one_of(runs) for _, runs in by_bundle])
    if blocked:
        return compare_runs([*alike_blocks([one_of(runs) for runs in more], len(blocked)), *blocked], *names)
    runs = [run for _, runs in by_bundle for run in runs]
    together = [run for runs in more for run in runs]
    return compare_runs(runs, *names, alike=[together] if together else [])


def runs_of(bundle: Path, side: str) -> list[Run]:
    """The runs of a bundle, one an iteration. A step that is INVALID gives no figure; `reason` says why."""
    every = columns.from_records(records.read(bundle / layout.REQUESTS))
    judged: Any = writing.read_json(bundle, layout.VERDICT) or {}
    counted = every.where(~every.warm_up)
    iterations: dict[int, list[str]] = {}
    for step in counted.steps:
        iterations.setdefault(_iteration(step), []).append(step)
    if not iterations:
        raise ExperimentError(f"{bundle}: no request after the warm-up; run it again, longer")
    return [
        _run(bundle, side, iteration, {step: counted.where(counted.step == step) for step in steps}, judged)
        for iteration, steps in sorted(iterations.items())
    ]


def _run(bundle: Path, side: str, iteration: int, steps: dict[str, Requests], judged: dict[str, Any]) -> Run:
    found: dict[str, float] = {}
    reasons = []
    for step, requests in steps.items():
        said = (judged.get("steps") or {}).get(step) or {}
        if said.get("verdict") == "INVALID":
            causes = [cause for cause in judged.get("causes", []) if not cause.get("steps") or step in cause["steps"]]
            words = f"{causes[0]['name']}: {causes[0]['detail']}" if causes else "INVALID"
            reasons.append(f"{bundle.name}, {step}: {words}")
            continue
        began = said["began"] if "began" in said else steady.parts(requests)[step].began
        for name, value in figures(requests.where(requests.sent >= float(began))).items():
            found[f"{_kind(step)} {name}"] = value
    began = min(float(requests.sent.min()) for requests in steps.values())
    return Run(side, None, iteration, False, began, found, bool(found), "; ".join(reasons))


def _kind(step: str) -> str:
    return step.partition(" #")[0]


def _iteration(step: str) -> int:
    number = step.partition(" #")[2]
    return int(number) if number.isdigit() else 1


def one_of(runs: Sequence[Run]) -> Run:
    """The iterations of a bundle as one run: the geometric mean of each figure that all valid ones have."""
    valid = [run for run in runs if run.valid]
    names = set.intersection(*(set(run.figures) for run in valid)) if valid else set()
    figures = {name: float(np.exp(np.mean([np.log(run.figures[name]) for run in valid]))) for name in sorted(names)}
    reasons = "; ".join(run.reason for run in runs if run.reason)
    return replace(runs[0], figures=figures, valid=bool(figures), reason=reasons)


def in_blocks(runs: Sequence[Run]) -> list[Run]:
    """Runs with their blocks, where each four in the order of time are A B B A or B A A B; else none."""
    ordered = sorted(runs, key=lambda run: run.began)
    if len(ordered) % RUNS_OF_A_BLOCK or not ordered:
        return []
    blocks = np.asarray([run.side for run in ordered]).reshape(-1, RUNS_OF_A_BLOCK)
    there_and_back = (blocks == blocks[:, ::-1]).all() and (blocks[:, 0] != blocks[:, 1]).all()
    if not there_and_back:
        return []
    return [
        replace(run, block=place // RUNS_OF_A_BLOCK, place=place % RUNS_OF_A_BLOCK) for place, run in enumerate(ordered)
    ]


def alike_blocks(runs: Sequence[Run], first: int) -> list[Run]:
    """Runs of A in the order of time, each four as an A/A block of the same shape; what is left over is left out."""
    ordered = sorted(runs, key=lambda run: run.began)
    whole = len(ordered) // RUNS_OF_A_BLOCK * RUNS_OF_A_BLOCK
    shape = (A, B, B, A)
    return [
        replace(
            run,
            side=shape[place % RUNS_OF_A_BLOCK],
            block=first + place // RUNS_OF_A_BLOCK,
            place=place % RUNS_OF_A_BLOCK,
            alike=True,
        )
        for place, run in enumerate(ordered[:whole])
    ]
