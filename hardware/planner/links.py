"""The same engine over each link that could join the nodes: what the network costs, with numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hardware.model import GIGA, Cluster, Figure, Link
from hardware.planner import plan
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration
from hardware.planner.options import Options
from hardware.planner.placement import link_name
from hardware.planner.prediction import Prediction, Workload
from hardware.planner.tensors import Sharding

_GIGABIT = "IEEE 802.3ab 1000BASE-T: what an older switch or a USB adapter does"


@dataclass(frozen=True)
class LinkRow:
    """One way to span the nodes over one link. `assumed` is a link that the profile does not have."""

    link: str
    sharding: Sharding
    predictions: tuple[Prediction, ...]
    assumed: bool


def compare(
    cluster: Cluster, model: Model, workload: Workload, options: Options, calibration: Calibration | None = None
) -> tuple[LinkRow, ...]:
    """Every spanning engine over every link, slowest link first; empty when none spans or none can be predicted.

    Gigabit Ethernet is compared too where the profile's Ethernet is faster: a switch or one adapter decides that.
    """
    members = tuple(node.name for node in cluster.compute)
    found: dict[str, tuple[Link, bool]] = {}
    for link in cluster.links:
        if set(members) <= set(link.members):
            found[link_name(link)] = (link, False)
    fast = [link for link, _ in found.values() if link.kind == "ethernet" and link.bits_per_second.value > GIGA]
    if fast:
        slow = Link("ethernet", members, Figure(1 * GIGA, _GIGABIT))
        found.setdefault(link_name(slow), (slow, True))
    rows = []
    for name, (link, assumed) in sorted(found.items(), key=lambda entry: entry[1][0].bits_per_second.value):
        made = plan.make(replace(cluster, links=(link,)), model, workload, options, calibration)
        rows += [
            LinkRow(name, candidate.placement.sharding, candidate.predictions, assumed)
            for candidate in made.candidates
            if candidate.placement.link is not None and candidate.predictions
        ]
    return tuple(rows)
