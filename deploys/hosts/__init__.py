"""How a host is kept: what differs between a system that is the cluster's, an operator's account, and a container."""

from __future__ import annotations

from deploys.hosts.account import Account
from deploys.hosts.container import Container
from deploys.hosts.kind import HostKind
from deploys.hosts.whole import WholeSystem
from deploys.settings import Settings

_KINDS: dict[str, type[HostKind]] = {"systemd": WholeSystem, "supervisor": Account, "compose": Container}


def of(settings: Settings) -> HostKind:
    """The kind of a host, with all that depends on it."""
    return _KINDS[settings.system.service_manager](settings)
