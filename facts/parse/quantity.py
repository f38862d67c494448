"""Numbers with units as driver tools print them ("143771 MiB", "16x", "N/A") to plain numbers. Pure."""

from __future__ import annotations

import math
import re

MEBIBYTE = 1 << 20
# amd-smi writes "MB" and "KB" and means 2^20 and 2^10: an 8 GiB card is 8176 "MB" there.
_BYTES_OF_UNIT = {
    "B": 1,
    "KB": 1 << 10,
    "KIB": 1 << 10,
    "MB": MEBIBYTE,
    "MIB": MEBIBYTE,
    "GB": 1 << 30,
    "GIB": 1 << 30,
}
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z%/]*)\s*")
_ABSENT = {
    "",
    "n/a",
    "[n/a]",
    "none",
    "unknown",
    "unknown error",
    "[unknown error]",
    "not supported",
    "[not supported]",
    "insufficient permissions",
    "[insufficient permissions]",
    "requested functionality has been deprecated",
    "gpu is lost",
    "[gpu is lost]",
    "err!",
}


def is_absent(text: str | None) -> bool:
    """True for None and for the words that tools print instead of a value."""
    return text is None or text.strip().lower() in _ABSENT


def number(text: str | None, where: str) -> float | None:
    """The number in front of a unit, or None when the tool gives none.

    Raises `ValueError` for anything else.
    """
    if text is None or is_absent(text):
        return None
    match = _NUMBER.fullmatch(text)
    value = float(match.group(1)) if match else math.inf
    if not math.isfinite(value):
        raise ValueError(f"{where}: {text.strip()[:80]!r} is not a number with a unit")
    return value


def whole_number(text: str | None, where: str) -> int | None:
    """As `number`, but whole: counts, lanes, generations."""
    value = number(text, where)
    if value is not None and value != int(value):
        raise ValueError(f"{where}: {text!r} is not a whole number")
    return None if value is None else int(value)


def size_in_bytes(text: str | None, where: str) -> int | None:
    """A size such as "143771 MiB" in bytes; a bare number is bytes already. None when the tool gives none."""
    value = number(text, where)
    if value is None or text is None:
        return None
    match = _NUMBER.fullmatch(text)
    unit = (match.group(2) if match else "").upper() or "B"
    if unit not in _BYTES_OF_UNIT:
        raise ValueError(f"{where}: unit {unit!r} of {text!r} is no unit of size")
    if value < 0:
        raise ValueError(f"{where}: size {text!r} is negative")
    return int(value * _BYTES_OF_UNIT[unit])


def enabled(text: str | None, where: str) -> bool | None:
    """ "Enabled" or "Disabled" as a bool, None when the tool gives neither."""
    if text is None or is_absent(text):
        return None
    states = {"enabled": True, "disabled": False, "on": True, "off": False, "yes": True, "no": False}
    state = states.get(text.strip().lower())
    if state is None:
        raise ValueError(f"{where}: {text.strip()[:80]!r} is neither Enabled nor Disabled")
    return state
