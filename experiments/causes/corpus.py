"""A folder of labelled bundles: found, ranked, and split into those for tuning and those held back. Reads only.

Half of the bundles, chosen by their names' hash, are held back: thresholds are looked at with the others, and the score
that counts is of these. A bundle without labels (no results/faults.json) or telemetry is left out, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.causes import labels, scoring, simulation
from experiments.causes.ranking import Ranking, rank
from experiments.causes.scoring import Judged
from experiments.causes.signatures import KINDS, Kind
from experiments.causes.simulation import Planted, Simulated
from experiments.errors import ExperimentError


@dataclass(frozen=True)
class Labelled:
    """One bundle with the causes that were put into it."""

    directory: Path
    causes: frozenset[labels.Cause]
    began: float | None

    @property
    def held_back(self) -> bool:
        """Whether no threshold may be looked at with it."""
        return held_back(self.directory.name)


def held_back(name: str) -> bool:
    """By the name alone, so that the split never changes."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def find(folder: Path) -> tuple[list[Labelled], list[str]]:
    """Labelled bundles below a folder, by name, and why others are left out. ExperimentError for no folder."""
    if not folder.is_dir():
        raise ExperimentError(
            f"{folder}: no such directory; make a corpus with `cluster experiment run causes --to {folder}`"
        )
    found, left_out = [], []
    for manifest in sorted({path.parent.parent for path in folder.rglob(labels.FAULTS)}):
        try:
            found.append(Labelled(manifest, labels.causes(manifest), labels.began(manifest)))
        except ExperimentError as error:
            left_out.append(str(error))
    return found, left_out


def judge(
    bundles: Sequence[Labelled], each: Callable[[str, Ranking], None] | None = None
) -> tuple[list[Judged], list[str]]:
    """Each bundle ranked by its telemetry; and those that could not be, with the reason."""
    found, left_out = [], []
    for bundle in bundles:
        try:
            ranking = rank(bundle.directory)
        except ExperimentError as error:
            left_out.append(str(error))
            continue
        if each is not None:
            each(bundle.directory.name, ranking)
        order = tuple((one.node, one.kind) for one in ranking.candidates)
        found.append(Judged(bundle.directory.name, bundle.causes, order, ranking.word != "nothing"))
    return found, left_out


def results(judged: Sequence[Judged]) -> Mapping[str, Any]:
    """Scores of node and kind, of the node alone, and by kind."""
    return {
        "node_and_kind": scoring.scores(judged),
        "node": scoring.scores(scoring.nodes_only(judged)),
        "by_kind": scoring.by_kind(judged),
    }


def simulated(
    singles: int, pairs: int, clean: int, *, first_seed: int = 1
) -> Iterator[tuple[str, Sequence[Planted], Simulated]]:
    """(name, faults, telemetry) of runs that nobody ran: each kind in turn, on nodes in turn, of uneven strength."""
    random = np.random.default_rng(first_seed)
    nodes = [f"worker{number}" for number in (1, 2, 3)]

    def one(kind: Kind, node: str) -> Planted:
        began = float(random.uniform(95, 120))
        strength = float(random.uniform(0.6, 1.4))
        return Planted(
            kind, node, began, began + float(random.uniform(40, 60)), strength, hangs=bool(random.random() < 0.5)
        )

    plans: list[Sequence[Planted]] = [[one(KINDS[number % len(KINDS)], nodes[number % 3])] for number in range(singles)]
    for _ in range(pairs):
        kinds = [KINDS[int(place)] for place in random.choice(len(KINDS), 2, replace=False)]
        places = random.choice(3, 2, replace=False)
        plans.append([one(kind, nodes[int(place)]) for kind, place in zip(kinds, places, strict=True)])
    plans += [[] for _ in range(clean)]
    for number, planted in enumerate(plans):
        seed = first_seed * 10_000 + number
        gpus, pressure = any(fault.kind == "gpu" for fault in planted) or number % 4 == 0, number % 3 != 0
        made = simulation.simulate(planted, seed=seed, gpus=gpus, pressure=pressure)
        kinds_of = "-".join(fault.kind for fault in planted) or "clean"
        yield f"simulated-{number:03d}-{kinds_of}", planted, made
