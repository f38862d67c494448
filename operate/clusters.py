"""Finds and reads a cluster's inventory. OperatorError (exit 2) for anything that cannot be a cluster."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys.settings import Settings, SettingsError, parse
from facts.sources import REPOSITORY
from hardware.model import ProfileError
from inventories.composition.operator import cluster_directory
from operate.errors import OperatorError

_INVENTORIES = REPOSITORY / "inventories"
# Rendered by `python -m containers`; their hosts are containers, which no deploy reaches.
_NOT_INVENTORIES = {"__init__", "containers", "containers_amd", "containers_nvidia"}


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
    """An inventory that was read: control node first."""

    name: str
    path: Path
    hosts: tuple[Host, ...]

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
        return cluster_directory(self.control.settings.cluster)


def names() -> list[str]:
    """Clusters that have an inventory in this project."""
    return sorted(path.stem for path in _INVENTORIES.glob("*.py") if path.stem not in _NOT_INVENTORIES)


def load(name: str) -> ClusterInventory:
    """Read an inventory by its name, or by a path that ends in .py."""
    path = Path(name).expanduser() if name.endswith(".py") else _INVENTORIES / f"{name}.py"
    if name in _NOT_INVENTORIES or not path.is_file():
        raise OperatorError(
            f"no cluster {name!r}; there are {', '.join(names())}, or give the path of an inventory file"
        )
    try:
        module = runpy.run_path(str(path))
    except (ProfileError, SettingsError) as error:
        raise OperatorError(f"{path.name}: {error}") from None
    except SyntaxError as error:
        raise OperatorError(f"{path}:{error.lineno}: {error.msg}; mend the file") from None
    except Exception as error:  # an inventory is a program: whatever it raises is bad input
        raise OperatorError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from None
    hosts = [_host(path, entry) for group in ("control", "compute") for entry in _group(path, module, group)]
    controls = [host.name for host in hosts if host.settings.is_control]
    if len(controls) != 1:
        raise OperatorError(
            f"{path.name}: the group `control` has {len(controls)} hosts; exactly one runs the Ray head"
        )
    if len(hosts) == 1:
        raise OperatorError(
            f"{path.name}: the group `compute` has no hosts; add one, nothing serves on the control node"
        )
    return ClusterInventory(path.stem, path.resolve(), tuple(hosts))


def _group(path: Path, module: Mapping[str, Any], group: str) -> list[Any]:
    hosts = module.get(group)
    if not isinstance(hosts, list) or not hosts:
        raise OperatorError(
            f"{path.name}: no hosts in group `{group}`; an inventory defines `control` and `compute`, "
            "as inventories/laptop.py does"
        )
    return hosts


def _host(path: Path, entry: Any) -> Host:
    if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Mapping)):
        raise OperatorError(
            f"{path.name}: host {entry!r} has no data; build the groups with inventories.composition.compose.compose()"
        )
    target, data = entry
    try:
        settings = parse(str(target), data.get("settings"))
    except SettingsError as error:
        raise OperatorError(f"{path.name}: {error}") from None
    return Host(str(target), data, settings)
