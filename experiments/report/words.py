"""Figures in words for a report: with their unit, three digits, a dash where there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

NONE = "–"  # noqa: RUF001 (a dash for people)


def number(value: float | None, digits: int = 3) -> str:
    """With so many digits that count, and no exponent where people read none."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return (
        f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if abs(value) >= 1e-4 else f"{value:.1e}"
    )


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value)
    if size >= 120:
        return f"{value / 60:.1f} min"
    if size >= 1 or size == 0:
        return f"{number(value)} s"
    return f"{number(value * 1e3)} ms" if size >= 1e-3 else f"{number(value * 1e6)} µs"


def percent(value: float | None, sign: bool = False) -> str:
    """A share as percent."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value * 100)
    return f"{value * 100:{'+' if sign else ''}.{0 if size >= 10 else 1 if size >= 1 or size == 0 else 2}f} %"


def size(value: float | None) -> str:
    """Bytes."""
    if value is None or not math.isfinite(value):
        return NONE
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{number(value / limit)} {unit}"
    return f"{value:.0f} B"


def moment(value: float | None) -> str:
    """A time of day with its date, UTC."""
    return NONE if value is None else datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def after(value: float | None, origin: float | None) -> str:
    """How long after the origin: m:ss."""
    if value is None or origin is None or not math.isfinite(value):
        return NONE
    whole = round(value - origin)
    return f"{'-' if whole < 0 else ''}{abs(whole) // 60}:{abs(whole) % 60:02d}"


def plain(value: Any) -> str:
    """A parameter's value in a line."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value) if value else NONE
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(one)}" for name, one in value.items()) if value else NONE
    return str(value)


def counted(count: int, one: str, several: str = "") -> str:
    """`1 request`, `2 requests`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
