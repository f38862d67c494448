"""What a fault cost, computed from the requests and the looks that were recorded around it. Pure; unix seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.answers import CLEAR_FAILURES, DELIVERED_WRONG, HUNG, RIGHT, UNCLEAR, Outcome, counts
from experiments.measures import percentile


@dataclass(frozen=True)
class Look:
    """One look at a replica, asked directly. `status` is that of /cluster/ready, 0 when nobody answered."""

    at: float
    node: str
    status: int
    state: str = ""
    reason: str = ""

    @property
    def serves(self) -> bool:
        """Whether the replica says that it serves."""
        return self.status == 200


def seconds_until_not_ready(looks: Sequence[Look], node: str, fault: float) -> float | None:
    """Seconds from the fault until the node's replica was first seen not ready; None when it never was."""
    found = [look.at for look in looks if look.node == node and look.at >= fault and not look.serves]
    return min(found) - fault if found else None


def seconds_until_unrouted(
    outcomes: Sequence[Outcome], node: str, fault: float, out: tuple[float, float] | None
) -> float | None:
    """Seconds from the fault to the start of the last request that was given to the node while it was faulty.

    Only answers that name the node count. `out` is the time in which the node was seen not to serve. A right answer
    that ended after it was given by a replica that serves again, so it does not count. None: nothing was given to the
    node after the fault, or the node was never seen out of service.
    """
    if out is None:
        return None
    given = [
        entry.started
        for entry in outcomes
        if entry.node == node and fault <= entry.started < out[1] and not (entry.kind == RIGHT and entry.ended > out[1])
    ]
    return max(given) - fault if given else None


def seconds_of_trouble(outcomes: Sequence[Outcome], fault: float, until: float) -> float | None:
    """Seconds from the fault to the start of the last request that was not answered rightly; None without one."""
    failed = [entry.started for entry in outcomes if fault <= entry.started < until and entry.kind != RIGHT]
    return max(failed) - fault if failed else None


def time_out_of_service(looks: Sequence[Look], node: str, fault: float) -> tuple[float, float] | None:
    """First and last time that the node was seen not to serve; the last is infinite while it does not serve now.

    None for a node that was always seen to serve. The last look counts, not the first good one after it: between the
    two the node may have served already.
    """
    mine = sorted((look for look in looks if look.node == node and look.at >= fault), key=lambda look: look.at)
    bad = [look.at for look in mine if not look.serves]
    if not bad:
        return None
    return bad[0], bad[-1] if mine[-1].serves else float("inf")


def serves_again_at(looks: Sequence[Look], node: str, fault: float) -> float | None:
    """When the node was first seen to serve for good after it had been seen not to; None when that was not seen."""
    out = time_out_of_service(looks, node, fault)
    if out is None or out[1] == float("inf"):
        return None
    return min(look.at for look in looks if look.node == node and look.at > out[1])


def all_serve_since(looks: Sequence[Look], declared: Collection[str], now: float, fresh: float) -> float | None:
    """Since when every declared replica has been seen to serve without a break; None when one does not now.

    A replica that was not looked at within the last `fresh` seconds is not known to serve.
    """
    since = []
    for node in declared:
        mine = sorted((look for look in looks if look.node == node), key=lambda look: look.at)
        if not mine or not mine[-1].serves or now - mine[-1].at > fresh:
            return None
        bad = [place for place, look in enumerate(mine) if not look.serves]
        since.append(mine[bad[-1] + 1].at if bad else mine[0].at)
    return max(since) if since else None


def under_way_at(outcomes: Sequence[Outcome], at: float) -> list[Outcome]:
    """Requests that had begun and had not ended."""
    return [entry for entry in outcomes if entry.started <= at < entry.ended]


def what_became(outcomes: Sequence[Outcome], node: str, fault: float) -> dict[str, dict[str, int]]:
    """How the requests under way at the fault ended: on the node, on nobody known (no answer named one), elsewhere."""
    found = under_way_at(outcomes, fault)
    groups = {
        "on the node": [entry for entry in found if entry.node == node],
        "node not known": [entry for entry in found if not entry.node],
        "elsewhere": [entry for entry in found if entry.node not in ("", node)],
    }
    return {name: counts(entries) for name, entries in groups.items()}


def errors(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """What a client was told -> how often: kind, and status where one came."""
    failed = [entry for entry in outcomes if entry.kind not in (RIGHT, *DELIVERED_WRONG)]
    counted = Counter(f"{entry.kind}{f', {entry.status}' if entry.status else ''}" for entry in failed)
    return dict(counted.most_common())


def summary(outcomes: Sequence[Outcome], begin: float, end: float) -> dict[str, Any]:
    """Figures of the requests that began within [begin, end) or were under way at `begin`."""
    chosen = [entry for entry in outcomes if begin <= entry.started < end or entry.started < begin < entry.ended]
    right = [entry for entry in chosen if entry.kind == RIGHT]
    return {
        "requests": len(chosen),
        "right": len(right),
        "wrong": sum(entry.kind in DELIVERED_WRONG for entry in chosen),
        "failed_clearly": sum(entry.kind in CLEAR_FAILURES for entry in chosen),
        "failed_unclearly": sum(entry.kind == UNCLEAR for entry in chosen),
        "hung": sum(entry.kind == HUNG for entry in chosen),
        "errors": errors(chosen),
        "right_a_second": round(len(right) / (end - begin), 2) if end > begin else None,
        "seconds_p50": percentile([entry.seconds for entry in right], 0.5),
        "seconds_p99": percentile([entry.seconds for entry in right], 0.99),
        "longest_seconds": max((entry.seconds for entry in chosen), default=None),
    }


def fault_figures(
    outcomes: Sequence[Outcome], looks: Sequence[Look], node: str, marks: Mapping[str, float]
) -> dict[str, Any]:
    """All figures of one fault. `marks`: fault (it began), end (of its window), and repair where somebody mended."""
    fault = marks["fault"]
    out = time_out_of_service(looks, node, fault)
    back = serves_again_at(looks, node, fault)
    served = [
        entry.ended for entry in outcomes if out and entry.node == node and entry.kind == RIGHT and entry.ended > out[1]
    ]
    return {
        **judged_figures(outcomes, node, marks),
        "not_ready_after_seconds": seconds_until_not_ready(looks, node, fault),
        "last_given_after_seconds": seconds_until_unrouted(outcomes, node, fault, out),
        "serves_again_after_seconds": back - fault if back else None,
        "serves_again_after_repair_seconds": back - marks["repair"] if back and "repair" in marks else None,
        "answers_again_after_seconds": min(served) - fault if served else None,
    }


def judged_figures(outcomes: Sequence[Outcome], node: str, marks: Mapping[str, float]) -> dict[str, Any]:
    """The figures of a fault that follow from how its requests are judged, and from nothing else."""
    fault, end = marks["fault"], marks["end"]
    return {
        **summary(outcomes, fault, end),
        "last_failure_began_after_seconds": seconds_of_trouble(outcomes, fault, end),
        "under_way": what_became(outcomes, node, fault),
        "failures": [entry.to_json() for entry in outcomes if fault <= entry.ended < end and entry.kind != RIGHT][:100],
    }
