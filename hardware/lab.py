"""The lab: real Debian hosts on one machine, joined by a virtual switch, without accelerators.

Frozen on release; a change is a new version. Only the number of compute nodes varies, so it is the
argument. All hosts share one machine's processors and memory, so these are not stated a node: they are
read from the hosts.
"""

from __future__ import annotations

from typing import Literal

from hardware.model import GIGA, Cluster, Figure, Link, Node


def _node(name: str, role: Literal["control", "compute"]) -> Node:
    return Node(name=name, role=role, board="lab host", cluster_interface="eth0")


def lab(compute_nodes: int) -> Cluster:
    """`control` and compute0 to compute<compute_nodes - 1> on one virtual link.

    Raises ProfileError when `compute_nodes` is below one.
    """
    control = _node("control", "control")
    compute = tuple(_node(f"compute{index}", "compute") for index in range(compute_nodes))
    link = Link(
        kind="virtual",
        members=(control.name, *(node.name for node in compute)),
        bits_per_second=Figure(
            10 * GIGA,
            "10 Gb/s, the speed that Linux reports for a veth pair (drivers/net/veth.c, SPEED_10000); "
            "nothing is shaped",
        ),
        note="Memory copies on one machine: the processors are the limit, not the network.",
    )
    return Cluster(name="lab", version="1.0", control=control, compute=compute, links=(link,))


CLUSTER = lab(2)
