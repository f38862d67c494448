"""`date +%s.%N` and `timedatectl show` to a `ClockReport`. Pure; seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from facts.parse.report import Report
from facts.parse.sections import parse_sections

Synchronised = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class ClockReport(Report):
    """`epoch_seconds` is the host's time when it was read.

    `synchronised` is "unknown" without an answering timedatectl.
    """

    epoch_seconds: float
    synchronised: Synchronised
    detail: str = ""


def parse_clock(output: Iterable[str]) -> ClockReport:
    """The output of `facts.clock.Clock`. Raises `ValueError` when `date` printed no time."""
    sections = parse_sections(output, "timedatectl", "date")
    text = sections["date"].text.strip()
    # A date without nanoseconds leaves "%N" or "N" behind the point; whole seconds are still right.
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\.?(?:%?N)?", text)
    if match is None:
        raise ValueError(f"date: {text[:80]!r} is not a number of seconds")
    section = sections["timedatectl"]
    answer = section.text.strip() if section.succeeded else ""
    if answer == "yes":
        return ClockReport(float(match.group(1)), "yes")
    if answer == "no":
        return ClockReport(float(match.group(1)), "no")
    detail = section.failure if not section.succeeded else f"timedatectl answered {answer[:80]!r}"
    return ClockReport(float(match.group(1)), "unknown", detail)
