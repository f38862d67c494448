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


def interval(differences: Sequence[float]) -> dict[str, Any]:
    """Mean of paired differences and its 95 % interval by Student's t; no interval below two of them."""
    number = len(differences)
    mean = statistics.fmean(differences) if differences else None
    found: dict[str, Any] = {"pairs": number, "mean": mean, "low": None, "high": None}
    if mean is not None and number > 1:
        reach = _student(number - 1) * statistics.stdev(differences) / number**0.5
        found |= {"low": mean - reach, "high": mean + reach}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


# Two-sided 95 % points of Student's t, by degrees of freedom: the tables of any textbook.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def _student(freedom: int) -> float:
    """Beyond the table the normal distribution's, with the first term of its correction."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    normal = statistics.NormalDist().inv_cdf(0.975)
    return normal + (normal**3 + normal) / (4 * freedom)
