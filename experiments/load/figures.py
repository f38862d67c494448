"""What a load's records say: by step, and within it by node and replica. Pure; milliseconds where a name says so.

Percentiles are those of the exact samples, linear between neighbours. Records of the warm-up are left out. Times to the
first token come twice: from the first byte sent, and from when the request was due (coordinated omission corrected).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy

from experiments.answers import GIVEN_UP, KINDS
from experiments.load.objectives import Objectives, met
from experiments.load.records import RequestRecord

SHARES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}
FORMAT = 1


def summary(records: Iterable[RequestRecord], objectives: Objectives | None = None) -> dict[str, Any]:
    """All steps in the order in which they were sent, each with its nodes and replicas: what summary.json holds."""
    return {"format": FORMAT, "objectives": dict(objectives or {}), "steps": by_step(records, objectives)}


def by_step(records: Iterable[RequestRecord], objectives: Objectives | None = None) -> list[dict[str, Any]]:
    """Figures of each step, with those of its nodes and replicas under `nodes` and `replicas`."""
    found = []
    for step, ours in _grouped(records, lambda record: record.step).items():
        measured = [record for record in ours if not record.warm_up]
        found.append(
            {
                "step": step,
                "target_rate": ours[0].target_rate,
                "warm_up_requests": len(ours) - len(measured),
                **figures(measured, objectives),
                "nodes": _each(measured, lambda record: record.node, objectives),
                "replicas": _each(measured, lambda record: record.replica, objectives),
            }
        )
    return found


def figures(records: Sequence[RequestRecord], objectives: Objectives | None = None) -> dict[str, Any]:
    """Figures of some requests; None in place of what nothing was measured of.

    `seconds` is from the first byte sent to the last answer's end, the time that the rates are over; `sent_rate` is
    that of the sending alone.
    """
    good = [record for record in records if record.good]
    begun = min((record.sent for record in records), default=0.0)
    seconds = max((record.ended for record in records), default=0.0) - begun
    sending = max((record.sent for record in records), default=0.0) - begun
    counted = Counter(record.kind for record in records)
    tokens = sum(record.output_tokens for record in good)
    found: dict[str, Any] = {
        "requests": len(records),
        "good": len(good),
        "failed": sum(record.failed for record in records),
        "given_up": counted[GIVEN_UP],
        "kinds": {kind: counted[kind] for kind in KINDS if counted[kind]},
        "seconds": seconds,
        "sent_rate": (len(records) - 1) / sending if sending else None,
        "requests_a_second": len(good) / seconds if seconds else None,
        "prompt_tokens": sum(record.prompt_tokens for record in good),
        "output_tokens": tokens,
        "output_tokens_a_second": tokens / seconds if seconds else None,
        "ttft_ms": spread([record.ttft for record in good]),
        "ttft_from_due_ms": spread([record.ttft_from_due for record in good]),
        "itl_ms": spread([gap for record in good for gap in record.gaps]),
        "tpot_ms": spread([record.tpot for record in good]),
        "end_to_end_ms": spread([record.seconds for record in good]),
        "send_lag_ms": spread([record.sent - record.due for record in records if record.due is not None]),
    }
    if objectives:
        within = sum(met(record, objectives) for record in records)
        found["goodput"] = {
            "requests": within,
            "requests_a_second": within / seconds if seconds else None,
            "share": within / len(records) if records else None,
        }
    return found


def spread(seconds: Iterable[float | None]) -> dict[str, float | int | None]:
    """Samples, mean, percentiles, least and most, in milliseconds; what is None is no sample."""
    values = numpy.array([value for value in seconds if value is not None], dtype=numpy.float64) * 1000
    if not values.size:
        return {"samples": 0, "mean": None, **dict.fromkeys(SHARES), "least": None, "most": None}
    found = numpy.percentile(values, list(SHARES.values()))
    return {
        "samples": int(values.size),
        "mean": float(values.mean()),
        **{name: float(value) for name, value in zip(SHARES, found, strict=True)},
        "least": float(values.min()),
        "most": float(values.max()),
    }


def _each(
    records: Sequence[RequestRecord], name_of: Callable[[RequestRecord], str], objectives: Objectives | None
) -> dict[str, Any]:
    """By name, where anybody said it."""
    named = _grouped((record for record in records if name_of(record)), name_of)
    return {name: figures(named[name], objectives) for name in sorted(named)}


def _grouped(
    records: Iterable[RequestRecord], name_of: Callable[[RequestRecord], str]
) -> dict[str, list[RequestRecord]]:
    found: dict[str, list[RequestRecord]] = {}
    for record in sorted(records, key=lambda record: record.number):
        found.setdefault(name_of(record), []).append(record)
    return found
