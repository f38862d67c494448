"""What a cluster in containers is declared to be: the inventory's settings, and the limits of its profile's nodes."""

from __future__ import annotations

import os
from dataclasses import dataclass

from deploys import runtime_lock
from deploys.settings import Settings, parse
from hardware.model import Cluster, Node, ProfileError
from inventories.composition import reading

WORKERS_VARIABLE = "CLUSTER_CONTAINER_WORKERS"


@dataclass(frozen=True)
class Member:
    """One node: what runs on it, and how much of the machine it may take."""

    settings: Settings
    node: Node
    index: int

    @property
    def memory_bytes(self) -> int:
        """Limit of its memory; ProfileError when the profile gives none."""
        if self.node.memory_bytes is None:
            raise ProfileError(
                f"{self.node.name}: no memory_bytes in the profile, so its container has no limit; add it"
            )
        return int(self.node.memory_bytes.value)

    @property
    def processors(self) -> int:
        """Limit of its processor time; ProfileError when the profile gives none."""
        if self.node.processor_threads is None:
            raise ProfileError(f"{self.node.name}: no processor_threads in the profile, so its container has no limit")
        return self.node.processor_threads


@dataclass(frozen=True)
class Declared:
    """A cluster, control node first."""

    inventory: str
    members: tuple[Member, ...]

    @property
    def control(self) -> Settings:
        """Settings of the control node."""
        return self.members[0].settings

    @property
    def runtime(self) -> runtime_lock.RuntimeLock:
        """The lock that the image is built from."""
        return runtime_lock.load(self.control.runtime)


def load(inventory: str, workers: int) -> Declared:
    """Read inventories/<inventory>.py with so many workers; ProfileError or SettingsError for one that cannot be."""
    before = os.environ.get(WORKERS_VARIABLE)
    os.environ[WORKERS_VARIABLE] = str(workers)
    try:
        path = reading.INVENTORIES / f"{inventory}.py"
        values = reading.values(path)
    finally:
        if before is None:
            del os.environ[WORKERS_VARIABLE]
        else:
            os.environ[WORKERS_VARIABLE] = before
    profile = values.get("CLUSTER")
    if not isinstance(profile, Cluster):
        raise ProfileError(f"inventory {inventory}: CLUSTER is no hardware profile")
    declared = (host for group in ("control", "compute") for host in reading.hosts(path, values, group))
    hosts = {name: parse(name, data.get("settings")) for name, data in declared}
    if any(len(settings.applications) > 1 for settings in hosts.values()):
        raise ProfileError(f"inventory {inventory}: containers serve one model; give one Serving")
    return Declared(inventory, tuple(Member(hosts[node.name], node, i) for i, node in enumerate(profile.nodes)))
