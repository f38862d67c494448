"""Raises the rate until the server, or the client, does not keep up any more. Requests a second; seconds.

A step is held when what is under way grows by no more than a twentieth of what was sent, one request in a hundred fails
at most, and objectives, where there are some, are met by nine in ten. The client is the limit when it sends late.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from experiments.errors import ExperimentError
from experiments.load.client import Endpoint
from experiments.load.generator import Write, run
from experiments.load.health import ClientHealth, joined
from experiments.load.objectives import Objectives, met
from experiments.load.records import RequestRecord
from experiments.load.steps import Step

GROWTH_SHARE = 0.05
GROWTH_ROOTS = 3.0
FAILED_SHARE = 0.01
WITHIN_SHARE = 0.9
# Beyond these a figure says as much of the client as of the server.
SEND_LAG_SECONDS = 0.01
LOOP_LAG_SECONDS = 0.01
MOST_STEPS = 40


@dataclass(frozen=True)
class Point:
    """One step of a sweep. `limit` is "" where the rate was held, else what did not keep up and by which figure."""

    step: str
    rate: float
    limit: str

    @property
    def held(self) -> bool:
        """Whether everything kept up."""
        return not self.limit

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "held": self.held}


async def sweep(
    endpoint: Endpoint,
    step_at: Callable[[float], Step],
    *,
    first: float,
    factor: float = 1.5,
    halvings: int = 2,
    objectives: Objectives | None = None,
    write: Write,
    stop: asyncio.Event,
    begun: Callable[[Step], None] = lambda step: None,
) -> tuple[list[Point], ClientHealth]:
    """`first`, then `factor` times as much each time, until a rate is not held; then the gap is halved some times.

    `step_at` makes the open loop of a rate. When not even the first rate is held, the gap begins at 0. ExperimentError
    for a sweep that would not end.
    """
    if not (0 < first < math.inf and 1 < factor < math.inf):
        raise ExperimentError(
            f"a sweep from {first:g}/s in steps of {factor:g}: give a rate above 0 and a factor above 1"
        )
    points: list[Point] = []
    healths: list[ClientHealth] = []
    held, lost, rate = 0.0, math.inf, first
    while not stop.is_set() and len(points) < MOST_STEPS:
        step = step_at(rate)
        seen: list[RequestRecord] = []

        def keep(record: RequestRecord, seen: list[RequestRecord] = seen) -> None:
            seen.append(record)
            write(record)

        healths.append(await run(endpoint, [step], write=keep, stop=stop, begun=begun))
        if stop.is_set():
            break
        points.append(Point(step.name, rate, limit_of(seen, healths[-1], objectives)))
        if points[-1].held:
            held = rate
        else:
            lost = rate
        if math.isinf(lost):
            rate = held * factor
        elif halvings > 0 and lost > held:
            rate, halvings = (held + lost) / 2, halvings - 1
        else:
            break
    return points, joined(healths)


def highest(points: Sequence[Point]) -> float:
    """The highest rate that was held; 0 for none."""
    return max((point.rate for point in points if point.held), default=0.0)


def client_limit(health: ClientHealth) -> str:
    """By which figure the client was late; "" when its figures are the server's."""
    for name, lags, most in (
        ("sent requests", health.send_lag, SEND_LAG_SECONDS),
        ("event loop was", health.loop_lag, LOOP_LAG_SECONDS),
    ):
        late = float(numpy.percentile(lags, 99)) if lags else 0.0
        if late > most:
            return f"client: {name} {late * 1000:.1f} ms late at P99"
    return ""


def limit_of(records: Sequence[RequestRecord], health: ClientHealth, objectives: Objectives | None = None) -> str:
    """What did not keep up in one open-loop step, the client first: late, it asked for less than it says."""
    if said := client_limit(health):
        return said
    measured = [record for record in records if not record.warm_up]
    if not measured:
        return "nothing was sent after the warm-up"
    failed = sum(record.failed for record in measured)
    if failed > FAILED_SHARE * len(measured):
        return f"server: {failed} of {len(measured)} requests failed"
    if said := _growing(records):
        return f"server: {said}"
    if objectives:
        within = sum(met(record, objectives) for record in measured) / len(measured)
        if within < WITHIN_SHARE:
            return f"server: {within:.0%} of the requests within the objectives"
    return ""


def _growing(records: Sequence[RequestRecord]) -> str:
    """Whether the requests under way became more and more while the measured ones were sent; "" when not.

    Looked at from when the first of the step's answers have ended, so that filling up is no growth. What comes and goes
    at random differs by some square roots of what is under way.
    """
    good = [record for record in records if record.good]
    if not good:
        return "no good answer"
    first, end = min(record.sent for record in records), max(record.sent for record in records)
    measured = min(record.sent for record in records if not record.warm_up)
    # The quickest tenth of the answers: what they took is the server's own time and no queue's.
    quick = float(numpy.percentile([record.seconds for record in good], 10))
    begin = max(measured, first + 2 * quick)
    if begin >= end:
        return f"an answer takes {quick:.1f} s, too much to tell in {end - first:.1f} s of sending; let it last longer"
    under_way = sum(record.sent <= begin < record.ended for record in records)
    sent = sum(begin < record.sent <= end for record in records)
    grew = sent - sum(begin < record.ended <= end for record in records)
    if grew > GROWTH_SHARE * sent + GROWTH_ROOTS * math.sqrt(max(under_way, 1)):
        return f"requests under way grew by {grew} of {sent} sent"
    return ""
