"""A cluster's inventory, read: its hosts, and how its operator names it. OperatorError (exit 2) for one that cannot be.

Reading touches no host and writes nothing. Commands that touch what the inventory declares use ownership.load.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys import hosts as kinds
from deploys.settings import Settings, SettingsError, parse
from hardware import model
from inventories.composition import reading
from inventories.composition.operator import cluster_directory
from inventories.composition.reading import names
from operate.errors import NoHostsError, OperatorError

__all__ = ["ClusterInventory", "Host", "names", "read"]


@dataclass(frozen=True)
class Host:
    """One host of an inventory: pyinfra's target and data, and our settings in it."""

    target: str
    data: Mapping[str, Any]
    settings: Settings

    @property
    def name(self) -> str:
        """Name under which pyinfra, Ray and the operator know it."""
        return self.settings.node


@dataclass(frozen=True)
class ClusterInventory:
    """An inventory that was read: control node first. `given` is the name or path by which the operator named it."""

    given: str
    path: Path
    hosts: tuple[Host, ...]

    @property
    def name(self) -> str:
        """The cluster that the inventory declares: whose state and services it touches."""
        return self.control.settings.cluster

    @property
    def command(self) -> str:
        """The command for this cluster, for remedies: `cluster -c NAME`."""
        return f"cluster -c {shlex.quote(self.given)}"

    def named(self, text: str) -> str:
        """A remedy of a lower floor, where no cluster is known, with this one's command: `cluster up` there."""
        return re.sub(r"(?<=[`\"])cluster (?!-c )", lambda _: f"{self.command} ", text)

    @property
    def control(self) -> Host:
        """The control node."""
        return next(host for host in self.hosts if host.settings.is_control)

    @property
    def compute(self) -> tuple[Host, ...]:
        """The compute nodes."""
        return tuple(host for host in self.hosts if not host.settings.is_control)

    @property
    def directory(self) -> Path:
        """State of this cluster on the operator's machine."""
        return cluster_directory(self.name)


def read(given: str) -> ClusterInventory:
    """Read an inventory by its name, or by the path of its file."""
    try:
        path = reading.find(given)
        values = reading.values(path)
        hosts = [
            Host(target, data, parse(target, data.get("settings")))
            for group in ("control", "compute")
            for target, data in reading.hosts(path, values, group)
        ]
    except model.NoHostsError as error:
        raise NoHostsError(str(error)) from None
    except model.ProfileError as error:
        raise OperatorError(str(error)) from None
    except SettingsError as error:
        raise OperatorError(f"{path.name}: {error}") from None
    controls = [host.name for host in hosts if host.settings.is_control]
    if len(controls) != 1:
        raise OperatorError(
            f"{path.name}: the group `control` has {len(controls)} hosts; exactly one runs the Ray head"
        )
    if len(hosts) == 1:
        raise OperatorError(
            f"{path.name}: the group `compute` has no hosts; add one, nothing serves on the control node"
        )
    if not all(kinds.of(host.settings).deployed_to for host in hosts):
        raise OperatorError(
            f"{path.name}: its nodes are containers, which their engine keeps; see docs/clusters/containers.md"
        )
    return ClusterInventory(given, path, tuple(hosts))
