"""One machine that plays three: a head and two workers on the loopback interface, without accelerators.

Frozen on release; a change is a new version. Only the number of workers varies, so it is the argument. It shows the
whole way without hardware. All nodes share the machine's processors and memory, so these are not stated a node: they
are read from the machine.
"""

from __future__ import annotations

from typing import Literal

from hardware.model import GIGA, Cluster, Figure, Link, Node


def _node(name: str, role: Literal["control", "compute"]) -> Node:
    return Node(name=name, role=role, board="this machine", cluster_interface="lo")


def laptop(workers: int) -> Cluster:
    """`head` and worker1 to worker<workers>; ProfileError when `workers` is below one."""
    compute = tuple(_node(f"worker{index}", "compute") for index in range(1, workers + 1))
    link = Link(
        kind="loopback",
        members=("head", *(node.name for node in compute)),
        bits_per_second=Figure(
            10 * GIGA,
            "assumed: the loopback interface has no rated speed; this is a floor for planning, the "
            "speed that Linux reports for its other purely virtual link (drivers/net/veth.c, "
            "SPEED_10000)",
        ),
        note="Memory copies on one machine: the processors are the limit, not the network.",
    )
    return Cluster(name="laptop", version="1.0", control=_node("head", "control"), compute=compute, links=(link,))


CLUSTER = laptop(2)
