"""Scores of rankings against what was injected: AC@k, Avg@5, and alarms on runs in which nothing was. Pure.

AC@k of one run is the share of its causes among the first k, of at most k of them; of several runs, the mean (as in
RCAEval and the papers before it). A false alarm is any other word than "nothing" on a clean run.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

MOST = 5


@dataclass(frozen=True)
class Judged:
    """One run: its true causes, the ranking (without repetitions, the best first), and whether an alarm was raised."""

    run: str
    truth: frozenset[Hashable]
    ranking: tuple[Hashable, ...]
    alarm: bool


def accuracy(truth: Set[Hashable], ranking: Sequence[Hashable], first: int) -> float:
    """AC@k of one run with causes. ValueError when there are none: a clean run has no accuracy."""
    if not truth:
        raise ValueError("a clean run has no accuracy; count its alarm")
    return len(truth & set(ranking[:first])) / min(first, len(truth))


def scores(judged: Sequence[Judged]) -> dict[str, Any]:
    """AC@1, AC@3, Avg@5 of runs with one cause and with several, and false alarms of clean ones; None for no runs."""
    found: dict[str, Any] = {}
    for name, runs in (
        ("single", [one for one in judged if len(one.truth) == 1]),
        ("concurrent", [one for one in judged if len(one.truth) > 1]),
    ):
        by_k = {k: _mean([accuracy(one.truth, one.ranking, k) for one in runs]) for k in range(1, MOST + 1)}
        every = [value for value in by_k.values() if value is not None]
        found[name] = {
            "runs": len(runs),
            "ac1": by_k[1],
            "ac2": by_k[2],
            "ac3": by_k[3],
            "avg5": _mean(every),
            "ac1_interval": wilson(round((by_k[1] or 0) * len(runs)), len(runs)),
            "missed": sum(not one.alarm for one in runs),
        }
    clean = [one for one in judged if not one.truth]
    alarms = sum(one.alarm for one in clean)
    found["clean"] = {
        "runs": len(clean),
        "false_alarms": alarms,
        "share": alarms / len(clean) if clean else None,
        "interval": wilson(alarms, len(clean)),
    }
    return found


def nodes_only(judged: Sequence[Judged]) -> list[Judged]:
    """The same where only the node counts, for methods that name no kind."""
    return [
        Judged(
            one.run,
            frozenset(_node(cause) for cause in one.truth),
            tuple(dict.fromkeys(_node(cause) for cause in one.ranking)),
            one.alarm,
        )
        for one in judged
    ]


def by_kind(judged: Sequence[Judged]) -> Mapping[str, tuple[int, int]]:
    """For each kind of fault: (runs in which it was the first of the ranking, runs that had it alone)."""
    found: dict[str, tuple[int, int]] = {}
    for one in judged:
        if len(one.truth) == 1:
            cause = next(iter(one.truth))
            kind = str(cause[1]) if isinstance(cause, tuple) else str(cause)
            right, runs = found.get(kind, (0, 0))
            found[kind] = (right + (one.ranking[:1] == (cause,)), runs + 1)
    return dict(sorted(found.items()))


def wilson(successes: int, runs: int) -> tuple[float, float] | None:
    """The 95 % interval of a share by Wilson's score; None for no runs."""
    if not runs:
        return None
    z, share = 1.959964, successes / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    reach = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs)) / (1 + z * z / runs)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _node(cause: Hashable) -> Hashable:
    return cause[0] if isinstance(cause, tuple) else cause


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
