"""The time from a fault until its engine served again, in five parts, and what it cost the clients. Pure; unix seconds.

The parts come from the engines' own records and from the requests; the whole comes from who looked at the engines from
outside. That the parts sum to the whole is therefore checked, and not so by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from experiments.answers import GOOD
from experiments.recovery.marks import BEGUN, ENDED, LOADED, OUT, SERVING, Mark
from experiments.schedule.windows import FaultWindow
from experiments.telemetry.fault_times import Look, serves_again_at, time_out_of_service

SUM_SECONDS = 1.0
# Kinds of requests whose client was told that the answer is whole.
WHOLE = GOOD


class Record(Protocol):
    """What of a request is asked here (experiments/load/records.py). Unix seconds."""

    @property
    def number(self) -> int: ...
    @property
    def sent(self) -> float: ...
    @property
    def first_token(self) -> float | None: ...
    @property
    def ended(self) -> float: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def node(self) -> str: ...


@dataclass(frozen=True)
class Objective:
    """What a request has to hold, in seconds from its sending; None: that is not asked."""

    first_token_seconds: float | None = None
    whole_seconds: float | None = None

    def missed(self, record: Record) -> bool:
        """Whether a client would say that it was not served well."""
        if record.kind not in WHOLE or not record.finish_reason:
            return True
        first = record.first_token if record.first_token is not None else record.ended
        return (self.first_token_seconds is not None and first - record.sent > self.first_token_seconds) or (
            self.whole_seconds is not None and record.ended - record.sent > self.whole_seconds
        )


@dataclass(frozen=True)
class Cost:
    """What clients felt within a fault's time. `expected`: misses that the time before it would have had as well."""

    requests: int
    missed: int
    expected: float
    failed: int
    # Numbers of requests that ended without an end mark and were counted as whole all the same: there may be none.
    truncated_as_whole: tuple[int, ...]

    @property
    def requests_lost_to_the_fault(self) -> float:
        """Misses beyond those that are usual here."""
        return max(self.missed - self.expected, 0.0)


@dataclass(frozen=True)
class Budget:
    """One fault on one node, in seconds; `whole` is None where the node was never seen out of service, or not back.

    detect: until the cluster had it out of service. drain: until the last request that it had was over, or, where no
    engine began anew, until the fault was gone. start: until the new engine's process ran. load: until its weights were
    in memory. prove: until it had given the golden answer and served.
    """

    fault: str
    node: str
    began: float
    detect: float
    drain: float
    start: float
    load: float
    prove: float
    whole: float | None
    cost: Cost
    detail: str = ""

    @property
    def parts(self) -> dict[str, float]:
        """The five by name."""
        return {name: getattr(self, name) for name in ("detect", "drain", "start", "load", "prove")}

    @property
    def adds_up(self) -> bool:
        """Whether the parts sum to the whole within a second; True where there is nothing to sum."""
        return self.whole is None or abs(sum(self.parts.values()) - self.whole) <= SUM_SECONDS

    def to_json(self) -> dict[str, Any]:
        """As plain data: results/recovery.json has a list of them."""
        return {**asdict(self), "adds_up": self.adds_up, "lost_to_the_fault": self.cost.requests_lost_to_the_fault}


def budget(
    records: Sequence[Record],
    windows: Sequence[FaultWindow],
    looks: Sequence[Look],
    marks: Sequence[Mark] = (),
    objective: Objective | None = None,
) -> list[Budget]:
    """A budget for every fault that took effect, on each of its nodes.

    `looks` are of the replicas, from outside; `marks` of the engines' own records, in the same clock. Without marks the
    parts after `drain` cannot be told apart: they stand in `prove`, and `detail` says so.
    """
    ordered = sorted((one for one in windows if one.took_effect is not None), key=lambda one: one.took_effect or 0)
    found = []
    for place, window in enumerate(ordered):
        later = (one.began for one in ordered[place + 1 :] if set(one.nodes) & set(window.nodes))
        until = min(later, default=float("inf"))
        found += [
            _of_node(records, window, node, looks, marks, objective or Objective(), until) for node in window.nodes
        ]
    return found


def _of_node(
    records: Sequence[Record],
    window: FaultWindow,
    node: str,
    looks: Sequence[Look],
    marks: Sequence[Mark],
    objective: Objective,
    until: float,
) -> Budget:
    fault = window.took_effect or window.began
    mine = [mark for mark in marks if mark.node == node and fault <= mark.at < until]
    seen = [look for look in looks if look.at < until]
    out, back = time_out_of_service(seen, node, fault), serves_again_at(seen, node, fault)
    end = back or (window.healed if out is None and window.healed else None)
    cost = cost_of(records, fault, end if end is not None else until, objective)
    if out is None or back is None:
        said = "never seen out of service" if out is None else "not seen to serve again"
        return Budget(window.name, node, fault, 0, 0, 0, 0, 0, None, cost, said)
    begun = max((mark.at for mark in mine if mark.name == BEGUN and mark.at <= back), default=None)
    known = [begun] if begun is not None else []
    first_sign = min([out[0], *known, *(mark.at for mark in mine if mark.name in (OUT, ENDED))])
    drained = _drained(records, window, node, first_sign, begun, back)
    if begun is None:
        why = "no new engine began" if marks else "no record of the engine: what follows the drain is one part"
        return Budget(
            window.name,
            node,
            fault,
            first_sign - fault,
            drained - first_sign,
            0,
            0,
            back - drained,
            back - fault,
            cost,
            why,
        )
    loaded = _first(mine, LOADED, begun, begun)
    served = _first(mine, SERVING, loaded, back)
    return Budget(
        window.name,
        node,
        fault,
        first_sign - fault,
        drained - first_sign,
        max(begun - drained, 0.0),
        loaded - begun,
        served - loaded,
        back - fault,
        cost,
        "" if loaded > begun else "its record does not say when the weights were loaded",
    )


def _drained(
    records: Sequence[Record], window: FaultWindow, node: str, out: float, begun: float | None, back: float
) -> float:
    """When the node had nothing of before any more: the end of the last request that it was given before it was out."""
    given = [one.ended for one in records if one.node == node and one.sent <= out < one.ended]
    if begun is not None:
        return min(max([out, *given]), begun)
    return min(max([out, *given, *([window.healed] if window.healed else [])]), back)


def _first(marks: Sequence[Mark], name: str, since: float, otherwise: float) -> float:
    return min((mark.at for mark in marks if mark.name == name and mark.at >= since), default=otherwise)


def cost_of(records: Sequence[Record], begin: float, end: float, objective: Objective) -> Cost:
    """What clients felt of requests sent within [begin, end) or under way at `begin`, beside as long before it."""
    within = [one for one in records if begin <= one.sent < end or one.sent < begin < one.ended]
    length = min(end, max((one.sent for one in records), default=begin)) - begin
    before = [one for one in records if begin - max(length, 10.0) <= one.sent and one.ended <= begin]
    share = sum(map(objective.missed, before)) / len(before) if before else 0.0
    return Cost(
        len(within),
        sum(map(objective.missed, within)),
        share * len(within),
        sum(one.kind not in WHOLE for one in within),
        tuple(one.number for one in within if one.kind in WHOLE and not one.finish_reason),
    )
