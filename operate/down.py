"""Stops a cluster's services; runtime and weights stay, so that the next `up` is quick."""

from __future__ import annotations

from operate import ownership, runner
from operate.clusters import ClusterInventory
from operate.progress import Progress


def down(cluster: ClusterInventory, progress: Progress) -> int:
    """Stop the cluster; the number of changes, 0 where it was down already."""
    with ownership.exclusive(cluster, "down"):
        progress.phase(f"connecting to {len(cluster.hosts)} hosts")
        return runner.deploy(cluster, "deploys/down.py", progress.event).changed
