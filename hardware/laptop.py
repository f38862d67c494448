"""One machine that plays three: a head and two workers on the loopback interface, without accelerators.

Frozen on release; a change is a new version. It shows the whole way without hardware. All three nodes
share the machine's processors and memory, so these are not stated a node: they are read from the
machine.
"""

from __future__ import annotations

from typing import Literal

from hardware.model import GIGA, Cluster, Figure, Link, Node


def _node(name: str, role: Literal["control", "compute"]) -> Node:
    return Node(name=name, role=role, board="this machine", cluster_interface="lo")


CLUSTER = Cluster(
    name="laptop",
    version="1.0",
    control=_node("head", "control"),
    compute=(_node("worker1", "compute"), _node("worker2", "compute")),
    links=(
        Link(
            kind="loopback",
            members=("head", "worker1", "worker2"),
            bits_per_second=Figure(
                10 * GIGA,
                "assumed: the loopback interface has no rated speed; this is a floor for planning, the "
                "speed that Linux reports for its other purely virtual link (drivers/net/veth.c, "
                "SPEED_10000)",
            ),
            note="Memory copies on one machine: the processors are the limit, not the network.",
        ),
    ),
)
