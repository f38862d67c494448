"""The part of compute_base that is the same on every node of a kind: applied to hosts, and to their image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyinfra import host
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from deploys.compute_base import accelerator
from deploys.operations import account, time
from deploys.settings import Settings

# libnuma1: vLLM's CPU kernels load it, and without it the engine dies at its start.
PACKAGES = ["ca-certificates", "iproute2", "libnuma1", "nftables", "procps", "python3-venv", "rsync"]


@dataclass(frozen=True)
class Shared:
    """What the shared part depends on.

    `accelerators`: the kind of runtime whose driver the node needs, or none. `firmware_suite`: where AMD's firmware is.
    """

    node: str
    service_user: str
    state_directory: str
    accelerators: Literal["cuda", "rocm", "none"]
    firmware_suite: str = "bookworm-backports"

    @classmethod
    def of(cls, here: Settings) -> Shared:
        """The same for a host; the control node has no driver."""
        kind = here.runtime.kind
        needs_driver = here.accelerators.names and not here.is_control and kind != "cpu"
        return cls(here.node, here.system.service_user, here.directories.state, kind if needs_driver else "none")  # type: ignore[arg-type]


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
    accelerator.driver(
        part.accelerators, node=part.node, service_user=part.service_user, firmware_suite=part.firmware_suite
    )
