"""Checks of decoded JSON before it is read. Pure; every function raises `ValueError` that says what was there."""

from __future__ import annotations

import math
from typing import Any


def mapping(value: Any, where: str) -> dict[str, Any]:
    """`value`, which has to be an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: an object was expected, got {str(value)[:200]!r}")
    return value


def mappings(value: Any, where: str) -> list[dict[str, Any]]:
    """`value`, which has to be a list of objects."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: a list was expected, got {str(value)[:200]!r}")
    return [mapping(entry, where) for entry in value]


def figure(value: Any, where: str) -> float:
    """`value` as a finite number; a text that holds one counts."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{where}: a number was expected, got {str(value)[:80]!r}")
    return found
