"""Medians, percentiles and ratios of what was measured; None where there is nothing to say. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

MIB = 1024**2


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of some runs; None in each place when there was none."""
    if not seconds:
        return {"runs": 0, "median": None, "least": None, "most": None}
    return {
        "runs": len(seconds),
        "median": round(statistics.median(seconds), 3),
        "least": round(min(seconds), 3),
        "most": round(max(seconds), 3),
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` (0 to 1) of the values lie, linear between neighbours; None without values."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give 0 to 1")
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio(value: float | None, base: float | None) -> float | None:
    """value / base with two decimals; None when either is missing."""
    return round(value / base, 2) if value is not None and base else None
