"""Nodes by the names that people use for them: "Head Node", "Worker Node #1", each with host and address. Pure."""

from __future__ import annotations

from deploys.watch.declared import node_label
from operate.clusters import ClusterInventory


def labels(cluster: ClusterInventory) -> dict[str, str]:
    """Node name -> label; workers are counted in the order of the inventory."""
    return {host.name: node_label(cluster.control.settings, host.name) for host in cluster.hosts}


def title(cluster: ClusterInventory, node: str, address: str) -> str:
    """`Worker Node #1: worker1, 127.0.0.11`, from what an answer says of its node."""
    known = labels(cluster)
    if not node:
        node = next((host.name for host in cluster.hosts if address and host.settings.network.address == address), "")
    if node in known:
        own = next(host.settings.network.address for host in cluster.hosts if host.name == node)
        return f"{known[node]}: {node}, {address or own}"
    if node or address:
        return f"{', '.join(filter(None, (node, address)))} (not in the inventory)"
    return "a node that it does not name"
