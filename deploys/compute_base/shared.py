"""The part of compute_base that is the same on every node of a kind: applied to hosts, and to their image."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.exceptions import DeployError
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from deploys.compute_base import accelerator
from deploys.compute_base.systems import SYSTEMS, SystemParts, drivers_of
from deploys.operations import account, time
from deploys.settings import Settings
from facts.host import Host

# libnuma1: vLLM's CPU kernels load it, and without it the engine dies at its start.
PACKAGES = ["ca-certificates", "iproute2", "libnuma1", "nftables", "procps", "python3-venv", "rsync"]


@dataclass(frozen=True)
class Shared:
    """What the shared part depends on.

    `accelerators`: the kind of runtime whose driver the node needs, or none. `system`: where that is to be had.
    """

    node: str
    service_user: str
    state_directory: str
    accelerators: str
    system: SystemParts

    @classmethod
    def of(cls, here: Settings) -> Shared:
        """The same for a host; the control node has no driver."""
        kind = drivers_of(here)
        return cls(here.node, here.system.service_user, here.directories.state, kind, _system(here.node, kind))


def _system(node: str, kind: str) -> SystemParts:
    """The host's own; DeployError for one that is not known. Not asked where no driver is wanted."""
    if kind == "none":
        return next(iter(SYSTEMS.values()))
    found = host.get_fact(Host)
    system = SYSTEMS.get((found.os_id, found.os_version))
    if system is None:
        raise DeployError(f"{node}: where {found.os_name} has the {kind} driver is not known; run `cluster doctor`")
    return system


def shared_base(part: Shared) -> None:
    """Packages, service user, time, driver packages. Nothing here may need a running system."""
    # A node that booted from an image has them, and its lists are as old as the image: no index is fetched then.
    missing = set(PACKAGES) - set(host.get_fact(DebPackages))
    apt.packages(
        name=f"Install system packages on {part.node}",
        packages=PACKAGES,
        update=bool(missing),
        cache_time=7 * 86400,
        no_recommends=True,
        _timeout=900,  # without a network apt waits for many minutes before it says so
    )
    account.ensure(  # noqa: S604 (the user's login shell; no subprocess)
        name=f"Create service user {part.service_user} on {part.node}",
        user=part.service_user,
        home=part.state_directory,
        shell="/usr/sbin/nologin",
    )
    time.synchronise(name=f"Keep the clock of {part.node} synchronised")
    accelerator.driver(part.accelerators, node=part.node, service_user=part.service_user, system=part.system)
