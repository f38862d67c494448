"""Numbers with units as driver tools print them ("143771 MiB", "16x", "N/A") to plain numbers. Pure.

`Readings` is for reports of many fields: a field that cannot be read is None, with its reason kept, and the rest of the
report stands. The functions are for a single value without which there is no report; they raise `ValueError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

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
    "TB": 1 << 40,
    "TIB": 1 << 40,
}
LARGEST_BYTES = 1 << 50
_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([A-Za-z%/]*)\s*")
# What tools print where there is nothing to say. Words of trouble ("GPU requires reset", "Unknown Error", "Function Not
# Found") are not among them: they are no value either, and somebody has to hear of them.
_ABSENT = {
    "",
    "-",
    "n/a",
    "na",
    "none",
    "null",
    "unknown",
    "not supported",
    "not applicable",
    "insufficient permissions",
    "requested functionality has been deprecated",
}
# All bits of 16, 32 and 64 bits, signed and unsigned: drivers fill what they do not know with them. A double holds the
# two largest as powers of two.
_SENTINELS = {float(2**bits - 1) for bits in (16, 31, 32, 63, 64)}

Value = TypeVar("Value")


def is_absent(text: str | None) -> bool:
    """True for None and for the words that tools print where there is no value."""
    return text is None or text.strip().strip("[]").strip().lower() in _ABSENT


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


def size_in_bytes(text: str | None, where: str) -> int | None:
    """A size such as "143771 MiB" in bytes; a bare number is bytes already. None when the tool gives none."""
    value = number(text, where)
    if value is None or text is None:
        return None
    match = _NUMBER.fullmatch(text)
    unit = (match.group(2) if match else "").upper() or "B"
    if unit not in _BYTES_OF_UNIT:
        raise ValueError(f"{where}: unit {unit!r} of {text.strip()[:80]!r} is no unit of size")
    if value < 0:
        raise ValueError(f"{where}: size {text.strip()[:80]!r} is negative")
    size = value * _BYTES_OF_UNIT[unit]
    if value in _SENTINELS - {65535.0} or size >= LARGEST_BYTES:
        raise ValueError(f"{where}: {text.strip()[:80]!r} stands for no value")
    return int(size)


def enabled(text: str | None, where: str) -> bool | None:
    """ "Enabled" or "Disabled" as a bool, None when the tool gives neither."""
    if text is None or is_absent(text):
        return None
    states = {"enabled": True, "disabled": False, "on": True, "off": False, "yes": True, "no": False}
    state = states.get(text.strip().lower())
    if state is None:
        raise ValueError(f"{where}: {text.strip()[:80]!r} is neither Enabled nor Disabled")
    return state


class Readings:
    """Reads the fields of one thing; `unread` has the reason of each that the source gives and that cannot be read."""

    def __init__(self) -> None:
        self.unread: list[str] = []

    def number(
        self,
        text: str | None,
        field: str,
        *,
        least: float = 0.0,
        most: float = math.inf,
        least_is_unknown: bool = False,
    ) -> float | None:
        """A number from `least` to `most`; what lies outside, and what drivers write for "unknown", is None.

        `least_is_unknown`: the source is known to write something below `least` for a value that it has not got, so
        that nobody has to hear of it.
        """
        value = self.tried(number, text, field)
        if value is None:
            return None
        if least <= value <= most and value not in _SENTINELS:
            return value
        if not (least_is_unknown and value < least):
            self.unread.append(f"{field}: {str(text).strip()[:80]!r} stands for no value")
        return None

    def whole(
        self,
        text: str | None,
        field: str,
        *,
        least: float = 0.0,
        most: float = math.inf,
        least_is_unknown: bool = False,
    ) -> int | None:
        """As `number`, but whole: counts, lanes, generations."""
        value = self.number(text, field, least=least, most=most, least_is_unknown=least_is_unknown)
        if value is not None and value != int(value):
            self.unread.append(f"{field}: {str(text).strip()[:80]!r} is not a whole number")
            return None
        return None if value is None else int(value)

    def size(self, text: str | None, field: str) -> int | None:
        """A size in bytes."""
        return self.tried(size_in_bytes, text, field)

    def enabled(self, text: str | None, field: str) -> bool | None:
        """ "Enabled" or "Disabled"."""
        return self.tried(enabled, text, field)

    def tried(self, read: Callable[[str | None, str], Value | None], text: str | None, field: str) -> Value | None:
        """What `read` makes of a field; None, with the reason kept, where that is a `ValueError`."""
        try:
            return read(text, field)
        except ValueError as error:
            self.unread.append(str(error))
            return None
