"""How far each node is from its own calm, and from its equals at the same moment. Pure.

Two views that fail in different ways. Against its own baseline a node's change is seen, but so is a change of load that
all have. Against its equals a common change cancels out, but one of them has to be well: an equal whose engine or host
is silent is none, since the others have its load. What counts is the smaller of the two, in units of the smallest
change that matters or four times the noise, whichever is more: 1 is a change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.causes import series
from experiments.causes.signals import BY_NAME, Signals
from experiments.causes.telemetry import Floats

SIGMAS = 4.0
# A node without equals is held against itself alone, which a change of load deceives: less is believed of it.
ALONE = 0.75
LEAST_BASELINE_SAMPLES = 5
SMOOTHED = 3
SILENCES = ("engine_silent", "node_silent")


@dataclass(frozen=True)
class Deviations:
    """By node and signal, on one grid: `strength` with its sign (1 is a change), `own` the same against itself."""

    at: Floats
    step: float
    strength: Mapping[str, Mapping[str, Floats]]
    own: Mapping[str, Mapping[str, Floats]]
    before: Mapping[str, Mapping[str, float]]

    def of(self, node: str, signal: str) -> Floats | None:
        """The strength of one signal of a node; None where it was not seen."""
        return self.strength.get(node, {}).get(signal)


def deviations(at: Floats, signals: Signals, equals: Collection[str], baseline: tuple[float, float]) -> Deviations:
    """`equals` are nodes of one kind; the others stand alone. `baseline` is when nothing was injected, unix seconds."""
    calm = (at >= baseline[0]) & (at <= baseline[1])
    step = float(at[1] - at[0]) if at.size > 1 else 1.0
    away: dict[str, dict[str, Floats]] = {}
    noise: dict[str, dict[str, float]] = {}
    before: dict[str, dict[str, float]] = {}
    for node, values in signals.items():
        for name, raw in values.items():
            signal = BY_NAME[name]
            compared = series.rolling(signal.compared(raw), SMOOTHED, "middle")
            if np.isfinite(compared[calm]).sum() < LEAST_BASELINE_SAMPLES:
                continue
            middle = series.middle(compared[calm])
            jumps = series.scatter(np.diff(signal.compared(raw))) / np.sqrt(2)
            spreads = [one for one in (series.scatter(compared[calm]), jumps) if np.isfinite(one)]
            away.setdefault(node, {})[name] = compared - middle
            noise.setdefault(node, {})[name] = max(spreads, default=0.0)
            before.setdefault(node, {})[name] = series.middle(raw[calm])
    out = {node: _out(values, at) for node, values in signals.items()}
    strength: dict[str, dict[str, Floats]] = {}
    own: dict[str, dict[str, Floats]] = {}
    for node, values in away.items():
        for name, change in values.items():
            least = BY_NAME[name].least_compared
            alone = change / max(least, SIGMAS * noise[node][name])
            own.setdefault(node, {})[name] = alone
            others = [other for other in equals if other != node and name in away.get(other, {})]
            if node not in equals or not others:
                strength.setdefault(node, {})[name] = alone * ALONE
                continue
            silent = name in SILENCES
            rest = [np.where(out[other] & (not silent), np.nan, away[other][name]) for other in others]
            quiet = min(noise[other][name] for other in others)
            unit = max(least, SIGMAS * float(np.hypot(noise[node][name], quiet)))
            reference = quietest(rest)
            compared = both(alone, (change - reference) / unit)
            strength.setdefault(node, {})[name] = np.where(np.isnan(reference), alone * ALONE, compared)
    return Deviations(at, step, strength, own, before)


def quietest(others: list[Floats]) -> Floats:
    """At each moment the change of the calmer half of the others: with one other in trouble too, the calm one's.

    NaN where none is there.
    """
    stacked = np.stack(others)
    size = np.where(np.isnan(stacked), np.inf, np.abs(stacked))
    order = np.argsort(size, axis=0)
    there = np.isfinite(size).sum(axis=0)
    place = np.maximum((there - 1) // 2, 0)
    chosen = np.take_along_axis(order, place[None, :], axis=0)
    found: Floats = np.take_along_axis(stacked, chosen, axis=0)[0]
    return np.where(there > 0, found, np.nan)


def _out(values: Mapping[str, Floats], at: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """When a node is nobody's equal."""
    silent = [values[name] for name in SILENCES if name in values]
    if not silent:
        return np.zeros(at.shape, dtype=np.bool_)
    return np.asarray(series.rolling(series.together(silent, "max"), 3, "max") > 0.5, dtype=np.bool_)


def both(one: Floats, other: Floats) -> Floats:
    """The smaller of two where they have one sign, else 0; NaN where either is."""
    made: Floats = np.where(one * other > 0, np.sign(one) * np.minimum(np.abs(one), np.abs(other)), 0.0)
    return np.where(np.isnan(one) | np.isnan(other), np.nan, made)
