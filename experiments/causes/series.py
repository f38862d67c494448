"""Series of uneven samples on one even grid of times. Pure; seconds.

A gap stays a gap: a grid point whose neighbours are farther apart than `PATIENCE` intervals is NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.causes.telemetry import Floats

PATIENCE = 2.6


def grid(began: float, ended: float, step: float) -> Floats:
    """Times from `began` to `ended`, `step` apart; at least one."""
    return began + step * np.arange(max(1, int((ended - began) / step) + 1), dtype=np.float64)


def own_interval(times: Floats) -> float:
    """How far apart samples are, in the middle; 0 below three. A reader of GPUs is slower than its node's others."""
    return float(np.median(np.diff(times))) if times.size >= 3 else 0.0


def gauge(times: Floats, values: Floats, at: Floats, interval: float) -> Floats:
    """The last value at each time, NaN when it is older than the patience."""
    place = np.searchsorted(times, at, side="right") - 1
    found = np.where(place >= 0, values[np.maximum(place, 0)], np.nan)
    age = at - times[np.maximum(place, 0)]
    return np.where((place >= 0) & (age <= PATIENCE * interval), found, np.nan)


def rate(times: Floats, values: Floats, at: Floats, interval: float, *, anew: bool = True) -> Floats:
    """A counter's increase a second around each time; one that fell began `anew` from zero, or counted nothing."""
    if times.size < 2:
        return np.full(at.shape, np.nan)
    gaps = np.diff(times)
    steps = np.diff(values)
    steps = np.where(steps < 0, values[1:] if anew else 0.0, steps)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where((gaps > 0) & (gaps <= PATIENCE * interval), steps / gaps, np.nan)
    place = np.searchsorted(times, at, side="left") - 1
    inside = (place >= 0) & (place < rates.size)
    return np.where(inside, rates[np.clip(place, 0, rates.size - 1)], np.nan)


def present(times: Floats, at: Floats, interval: float) -> Floats:
    """1 where a sample is no older than the patience, else 0."""
    if not times.size:
        return np.zeros(at.shape)
    place = np.searchsorted(times, at, side="right") - 1
    age = at - times[np.maximum(place, 0)]
    return np.where((place >= 0) & (age <= PATIENCE * interval), 1.0, 0.0)


def together(every: Sequence[Floats], how: str) -> Floats:
    """Several series as one: their sum, mean, middle, max or min where any is there."""
    stacked = np.stack(every)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a time at which all are NaN stays NaN
        if how == "sum":
            found = np.nansum(stacked, axis=0)
            return np.where(np.all(np.isnan(stacked), axis=0), np.nan, found)
        if how == "middle":
            return _middle(stacked)
        functions: dict[str, Any] = {"mean": np.nanmean, "max": np.nanmax, "min": np.nanmin}
        made: Floats = functions[how](stacked, axis=0)
        return made


def _middle(stacked: Floats) -> Floats:
    """Medians down the rows of what is no NaN; numpy's own takes them one by one."""
    ordered = np.sort(stacked, axis=0)  # NaN at the end
    there = np.isfinite(ordered).sum(axis=0)
    places = np.stack([np.maximum(there - 1, 0) // 2, np.minimum(there // 2, ordered.shape[0] - 1)])
    both = np.take_along_axis(ordered, places, axis=0)
    return np.where(there > 0, both.mean(axis=0), np.nan)


def rolling(values: Floats, width: int, how: str) -> Floats:
    """The middle, mean or min of `width` neighbours of each value, the ends with what there is."""
    if width <= 1 or not values.size:
        return values
    before = (width - 1) // 2
    padded = np.concatenate([np.full(before, np.nan), values, np.full(width - 1 - before, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return together(list(windows.T), how)


def middle(values: Floats) -> float:
    """The median of what is finite; NaN when nothing is."""
    kept = values[np.isfinite(values)]
    return float(np.median(kept)) if kept.size else float("nan")


def scatter(values: Floats) -> float:
    """A robust standard deviation: 1.4826 times the median distance from the median; NaN below three values."""
    kept = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(kept - np.median(kept)))) if kept.size >= 3 else float("nan")


def stretches(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Runs of True as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]
