"""Ranks which node and which kind of fault a bundle's telemetry speaks for. Pure but for reading the bundle.

Every pair of node and kind gets a score of 0 to 1 at each moment: the share of its signature that is there. Its score
is the best that it held for a while. Then pairs that a better one accounts for are taken out of what was found, though
they stay in the ranking. Nothing above `FOUND`: when something lasting changed all the same the word is "unknown",
otherwise "nothing".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.causes import series, signals, telemetry
from experiments.causes.deviations import Deviations, deviations
from experiments.causes.events import Event, happened
from experiments.causes.signals import BY_NAME
from experiments.causes.signatures import ACCOUNTS_FOR, LAYERS, SIGNATURES, Kind
from experiments.causes.telemetry import Floats, Telemetry

FOUND = 0.45
# A change that no signature knows has to be this strong, for this long, before it is worth a word.
ODD, ODD_SECONDS = 1.8, 15.0
HELD_SECONDS = 20.0
# How long after its end a fault accounts for others on its node: an engine that starts reads disks and uses processors.
AFTERMATH_SECONDS = 90.0
EVENT_SECONDS = 20.0
# What is left of a score after a happening that this kind of fault does not have.
REFUTED = 0.3
# Who accounts for another has to be about as strong.
AS_STRONG = 0.6
BASELINE_SHARE = 0.3
LEAST_BASELINE_SECONDS = 20.0
SERVICE = ("itl", "ttft", "tokens", "waiting", "engine_silent", "node_silent", "retransmits", "rtt")

Word = Literal["nothing", "unknown", "found"]


@dataclass(frozen=True)
class Candidate:
    """One node and kind, 0 to 1, when it was strongest (unix seconds), and what speaks for it, in words."""

    node: str
    kind: Kind
    score: float
    began: float
    ended: float
    evidence: tuple[str, ...]
    accounted_for_by: str = ""

    @property
    def layer(self) -> str:
        """The layer that this kind of fault is on."""
        return LAYERS[self.kind]


@dataclass(frozen=True)
class Ranking:
    """`word`, every candidate with any score (the best first, those found before all others), and what is odd."""

    word: Word
    candidates: tuple[Candidate, ...]
    odd: tuple[str, ...]
    baseline: tuple[float, float]

    @property
    def found(self) -> tuple[Candidate, ...]:
        """The causes: strong enough, and accounted for by no other."""
        return tuple(one for one in self.candidates if one.score >= FOUND and not one.accounted_for_by)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "verdict": self.word,
            "baseline": list(self.baseline),
            "odd": list(self.odd),
            "candidates": [
                {**vars(one), "layer": one.layer, "evidence": list(one.evidence)} for one in self.candidates
            ],
        }


def rank(bundle: Path, baseline: tuple[float, float] | None = None) -> Ranking:
    """Rank the causes of what a bundle's telemetry shows. ExperimentError where there is no telemetry."""
    return rank_telemetry(telemetry.read(bundle), baseline)


def rank_telemetry(seen: Telemetry, baseline: tuple[float, float] | None = None) -> Ranking:
    """The same of telemetry that is read already. `baseline`: when all was well; by default the load's first part."""
    at, found = signals.observed(seen)
    loaded = _loaded(at, found)
    began, ended = float(at[loaded[0]]), float(at[loaded[1] - 1])
    calm = baseline or (began, began + max(LEAST_BASELINE_SECONDS, BASELINE_SHARE * (ended - began)))
    equals = signals.engines(found)
    changes = deviations(at, found, equals, calm)
    judged = (at > calm[1] if baseline is None else ~((at >= calm[0]) & (at <= calm[1]))) & (at <= ended)
    events = [event for event in happened(seen) if event.at > calm[1] or baseline is not None]
    scored = [
        candidate
        for node in sorted(found)
        for kind in SIGNATURES
        if (candidate := _candidate(node, kind, changes, judged, [one for one in events if one.node == node]))
    ]
    candidates = _accounted(sorted(scored, key=lambda one: (-one.score, one.node, one.kind)))
    causes = [one for one in candidates if one.score >= FOUND and not one.accounted_for_by]
    odd = () if causes else tuple(_odd(changes, judged))
    word: Word = "found" if causes else "unknown" if odd else "nothing"
    return Ranking(word, tuple(candidates), odd, calm)


def _loaded(at: Floats, found: signals.Signals) -> tuple[int, int]:
    """First and one past the last grid point with load on the cluster; the whole grid where no engine says."""
    rates = [values["tokens"] for values in found.values() if "tokens" in values]
    if not rates:
        return 0, at.size
    whole = np.nan_to_num(series.together(rates, "sum"))
    busy = whole > 0.2 * max(series.middle(whole[whole > 0]), 1e-9) if (whole > 0).any() else whole > 0
    places = np.flatnonzero(busy)
    return (int(places[0]), int(places[-1]) + 1) if places.size >= 4 else (0, at.size)


def _share(strength: Floats) -> Floats:
    """How much of a piece of evidence a change is: none below half of what matters, all from one and a half on."""
    return np.clip(np.nan_to_num(strength) - 0.5, 0.0, 1.0)


def _candidate(
    node: str, kind: Kind, changes: Deviations, judged: np.ndarray[Any, np.dtype[np.bool_]], events: Sequence[Event]
) -> Candidate | None:
    signature = SIGNATURES[kind]
    # Of several keys the one that says most speaks for all; what it counts for is held against the best that there is.
    whole, weight = np.zeros(changes.at.shape), 0.0
    for name, (sign, counts) in signature.keys.items():
        if (strength := changes.of(node, name)) is not None:
            whole, weight = np.maximum(whole, counts * _share(sign * strength)), max(weight, counts)
    told = [(event, signature.events[event.what]) for event in events if event.what in signature.events]
    for event, counts in told:
        near = np.abs(changes.at - event.at) <= EVENT_SECONDS
        whole, weight = np.maximum(whole, np.where(near, counts, 0.0)), max(weight, counts)
    key = whole > 0
    if not key.any():
        return None
    for name, (sign, counts) in signature.supports.items():
        if (strength := changes.of(node, name)) is not None:
            whole, weight = whole + counts * _share(sign * strength), weight + counts
    score = np.where(key, whole / weight, 0.0)
    for name, (sign, counts) in signature.against.items():
        if (strength := changes.of(node, name)) is not None:
            score = score * (1.0 - counts * _share(sign * strength))
    if any(event.what in signature.refuted_by for event in events):
        score = score * REFUTED
    held = max(1, round(HELD_SECONDS / changes.step))
    lasting = np.where(judged, series.rolling(score, held, "mean"), 0.0)
    if told:  # a happening is a moment, and needs not last
        lasting = np.maximum(lasting, np.where(judged, score, 0.0) * 0.999)
    best = int(np.argmax(lasting))
    if lasting[best] < 0.05:
        return None
    around = next(
        stretch for stretch in series.stretches(lasting >= lasting[best] / 2) if stretch[0] <= best < stretch[1]
    )
    evidence = tuple(_evidence(node, kind, changes, around)) + tuple(event.words for event, _ in told[:3])
    return Candidate(
        node,
        kind,
        round(float(lasting[best]), 4),
        float(changes.at[around[0]]),
        float(changes.at[around[1] - 1]),
        evidence,
    )


def _evidence(node: str, kind: Kind, changes: Deviations, around: tuple[int, int]) -> list[str]:
    said = []
    signature = SIGNATURES[kind]
    for name, (sign, _) in {**signature.keys, **signature.supports}.items():
        strength = changes.of(node, name)
        if strength is None:
            continue
        part = sign * strength[slice(*around)]
        if np.isfinite(part).any() and (most := float(np.nanmax(part))) >= 1.0:
            signal = BY_NAME[name]
            words = "rose" if sign > 0 else "fell"
            said.append(f"{signal.words} {words}, {most:.1f} times what matters")
    return said


def _accounted(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Causes first, then what they account for and what is weak, each strongest first."""
    causes: list[Candidate] = []
    rest: list[Candidate] = []
    for one in candidates:
        by = next((other for other in candidates if other is not one and _accounts(other, one)), None)
        if by is not None:
            rest.append(replace(one, accounted_for_by=by.kind))
        else:
            (causes if one.score >= FOUND else rest).append(one)
    return causes + rest


def _accounts(cause: Candidate, other: Candidate) -> bool:
    """Whether one accounts for the other. Of two that account for each other, the stronger does."""
    if cause.node != other.node or cause.score < max(FOUND, AS_STRONG * other.score):
        return False
    if other.kind not in ACCOUNTS_FOR[cause.kind]:
        return False
    if cause.kind in ACCOUNTS_FOR[other.kind] and (cause.score, other.kind) <= (other.score, cause.kind):
        return False
    return cause.began - EVENT_SECONDS <= other.ended and other.began <= cause.ended + AFTERMATH_SECONDS


def _odd(changes: Deviations, judged: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    """Lasting changes of what a client would feel, on a node or on all of them, for which no kind of fault stands."""
    said = []
    for node, values in changes.strength.items():
        for name in SERVICE:
            if name not in values:
                continue
            worse = -values[name] if name == "tokens" else values[name]
            for first, last in series.stretches(judged & (np.nan_to_num(worse) >= ODD)):
                seconds = (last - first) * changes.step
                if seconds >= ODD_SECONDS:
                    said.append(f"{node}: {BY_NAME[name].words} is off for {seconds:.0f} s")
                    break
    return said
