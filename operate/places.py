"""Where a cluster's engines run, as the judgement of fit sees it: a profile's memory, or this machine's. Reads only."""

from __future__ import annotations

import importlib
import os

from hardware.model import Cluster
from hardware.planner.rates import Device
from hardware.planner.served import Place, place_of
from operate.clusters import ClusterInventory


def place_for(cluster: ClusterInventory) -> Place:
    """Where this cluster's engines run: its profile's memory, or this machine's where its nodes are this machine."""
    settings = cluster.control.settings
    here, engines = None, 1
    if settings.system.shared_machine:
        here, engines = _this_machine(), max(sum(host.settings.runs_engine for host in cluster.hosts), 1)
    profile = _profile(settings.profile.partition(" ")[0])
    if profile is not None:
        return place_of(profile.compute, host_bytes=here, sharing=engines)
    compute = [host.settings for host in cluster.compute]
    ranks = max(1, min(len(host.accelerators.names) for host in compute))
    unknown = Device("a device of no profile", compute[0].node, settings.runtime.kind, "", memory_bytes=here)
    return Place(settings.runtime.kind, (unknown,), len(compute), ranks, engines)


def _profile(name: str) -> Cluster | None:
    """The hardware profile of that name; None for one that is in no module of this project."""
    try:
        found = getattr(importlib.import_module(f"hardware.{name}"), "CLUSTER", None)
    except ImportError:
        return None
    return found if isinstance(found, Cluster) else None


def _this_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
