"""Coordinated omission: what a client does not see because it waits itself, put back. Pure; seconds.

In an open loop a request's wait is counted from when it was due. A closed loop has no schedule: while one answer takes
long, its user asks nothing, and the waits that others would have had are missing. They are put back as HdrHistogram
does it: a wait longer than a user's usual cycle stands for those that would have begun in it, each shorter by a cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.verdict.requests import Floats, Requests

MOST_PUT_BACK = 1_000_000


@dataclass(frozen=True)
class Omission:
    """TTFT of a step at P99 in seconds: as sent, and corrected; `way` says how."""

    step: str
    way: str
    p99_sent: float
    p99_corrected: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return dict(vars(self))


def put_back(waits: Floats, cycle: float) -> Floats:
    """The waits, and those that a steady user with that cycle would have had meanwhile. ValueError without a cycle."""
    if not cycle > 0:
        raise ValueError(f"a cycle of {cycle} s; give a length above 0")
    counts = np.maximum(np.ceil(waits / cycle).astype(np.int64) - 1, 0)
    if counts.sum() > MOST_PUT_BACK:
        raise ValueError(f"{counts.sum()} waits to put back with a cycle of {cycle} s; it is too short for these waits")
    more = [wait - cycle * np.arange(1, count + 1) for wait, count in zip(waits, counts, strict=True) if count]
    return np.concatenate([waits, *more])


def corrected_ttft(requests: Requests) -> tuple[str, Floats]:
    """(way, waits in seconds) of a step's whole requests: from when they were due, or with what is missing put back."""
    whole = requests.where(requests.whole)
    if np.isfinite(whole.due).any():
        return "from when it was due", whole.ttft_from_due
    # The length of a usual cycle: what the median request took; a user asks again at once.
    cycle = float(np.median(whole.ended - whole.sent)) if len(whole) else 0.0
    if cycle <= 0:
        return "nothing to correct", whole.ttft
    return "with what users did not ask meanwhile", put_back(whole.ttft, cycle)


def omission(step: str, requests: Requests) -> Omission | None:
    """Of one step; None where no request was whole."""
    sent = requests.ttft[requests.whole]
    if not sent.size:
        return None
    way, corrected = corrected_ttft(requests)
    return Omission(step, way, float(np.quantile(sent, 0.99)), float(np.quantile(corrected, 0.99)))
