"""Whether the parts are the whole, and which node's part is larger than the other nodes'. Pure; milliseconds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.ledger.rows import ALL, PARTS, Row
from experiments.measures import percentile
from facts.health.result import CheckResult

# The parts may leave over so much of the whole: milliseconds, or a share of it.
LEFT_OVER_MS = 2.0
LEFT_OVER_SHARE = 0.02
PERCENTILES = (0.5, 0.99)
# A node's part is named when its middle lies so far above the others': more than their noise, and worth a word.
LEAST_EXCESS_MS = 2.0
NOISE_FACTOR = 4.0
LEAST_ROWS = 8
# From the middle of the distances from the middle to a standard error of a median, for a normal distribution.
_TO_DEVIATION, _TO_MEDIAN = 1.4826, 1.2533


@dataclass(frozen=True)
class Excess:
    """A part that takes longer on one node than on the others. `noise_ms`: the error of that difference."""

    node: str
    part: str
    excess_ms: float
    noise_ms: float

    @property
    def text(self) -> str:
        """For a person."""
        return f"{self.node}: {self.part} takes {self.excess_ms:.1f} ms longer than on the other nodes"


def sums(rows: Iterable[Row]) -> CheckResult:
    """Whether the parts of the requests with all books sum to the whole, in the middle and at the 99th percentile.

    Each request is held to it: what is left over of one is not made good by another.
    """
    known = [row for row in rows if row.known == ALL and not row.warm_up]
    if not known:
        return CheckResult(
            "ledger",
            None,
            "no request is known to client, gateway and engine",
            "serve with Site(telemetry='traces'), and send a traceparent with each request",
        )
    said, ok = [], True
    for share in PERCENTILES:
        left = percentile([abs(row.unexplained_ms) for row in known], share) or 0.0
        whole = percentile([row.whole_ms for row in known], share) or 0.0
        allowed = max(LEFT_OVER_MS, LEFT_OVER_SHARE * whole)
        ok = ok and left <= allowed
        said.append(f"P{100 * share:g} {left:.2f} ms of {whole:.1f} ms (at most {allowed:.2f})")
    detail = f"{len(known)} requests; not explained: {', '.join(said)}"
    return CheckResult("ledger", ok, detail, "" if ok else "look at the rows with the largest unexplained_ms")


def named(rows: Iterable[Row]) -> list[Excess]:
    """Parts that take longer on one node than on the others, the largest first.

    Each step of a load is compared with itself, so that a node which had more of a heavy step is not named for that.
    """
    values: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        if row.warm_up or not row.node:
            continue
        for part, value in row.parts().items():
            values[part][row.step][row.node].append(value)
    found = []
    for part in PARTS:
        apart: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for nodes in values[part].values():
            for node, distance in _apart(nodes).items():
                apart[node].append(distance)
        for node, steps in apart.items():
            excess, noise = statistics.fmean(step[0] for step in steps), max(step[1] for step in steps)
            if excess > max(LEAST_EXCESS_MS, NOISE_FACTOR * noise):
                found.append(Excess(node, part, round(excess, 3), round(noise, 3)))
    return sorted(found, key=lambda one: -one.excess_ms)


def _apart(nodes: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Distance of each node's middle from the middle of the others' middles, and its error."""
    enough = {node: values for node, values in nodes.items() if len(values) >= LEAST_ROWS}
    middles = {node: statistics.median(values) for node, values in enough.items()}
    found = {}
    for node, values in enough.items():
        others = [middle for other, middle in middles.items() if other != node]
        if others:
            noise = max(_error(values), *(_error(enough[other]) for other in middles if other != node))
            found[node] = (middles[node] - statistics.median(others), noise)
    return found


def _error(values: Sequence[float]) -> float:
    """Standard error of a median, from what outliers do not move."""
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    return float(_TO_MEDIAN * _TO_DEVIATION * spread / len(values) ** 0.5)
