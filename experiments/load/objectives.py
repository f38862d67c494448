"""Service level objectives in AIPerf's words, and whether a request met them. Pure; milliseconds where it says so.

`time_to_first_token:200 inter_token_latency:20 request_latency:2000` are most milliseconds a request may take;
`output_token_throughput_per_user:30` is the fewest tokens a second. As there, a request's inter-token latency is its
mean after the first token. Reference: AIPerf 0.13, metrics reference and goodput tutorial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from experiments.errors import ExperimentError
from experiments.load.records import RequestRecord

TTFT, TPOT, LATENCY, USER_THROUGHPUT = (
    "time_to_first_token",
    "inter_token_latency",
    "request_latency",
    "output_token_throughput_per_user",
)
Objectives = Mapping[str, float]

# What of a record each speaks of: milliseconds, or tokens a second. None where the record has none of it.
_OF: dict[str, Callable[[RequestRecord], float | None]] = {
    TTFT: lambda record: _milliseconds(record.ttft_from_due),
    TPOT: lambda record: _milliseconds(record.tpot),
    LATENCY: lambda record: _milliseconds(record.ended - (record.sent if record.due is None else record.due)),
    USER_THROUGHPUT: lambda record: 1 / record.tpot if record.tpot else None,
}


def parse(given: str | Iterable[str]) -> dict[str, float]:
    """Read objectives, as one text or a word each; ExperimentError that lists those that there are."""
    words = given.split() if isinstance(given, str) else [word for text in given for word in text.split()]
    found: dict[str, float] = {}
    for word in words:
        name, colon, number = word.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in _OF or not colon or not 0 < value < math.inf:
            raise ExperimentError(f"objective {word!r}: write one of {', '.join(_OF)} with its limit, as in {TTFT}:200")
        found[name] = value
    return found


def met(record: RequestRecord, objectives: Objectives) -> bool:
    """Whether a good answer came within all of them. A request of one token has no inter-token latency to miss.

    Times count from when a request was due: that the client let it wait is no merit of the server.
    """
    if not record.good:
        return False
    for name, limit in objectives.items():
        value = _OF[name](record)
        if value is None:
            if name in (TPOT, USER_THROUGHPUT) and record.output_tokens < 2:
                continue
            return False
        if value < limit if name == USER_THROUGHPUT else value > limit:
            return False
    return True


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
