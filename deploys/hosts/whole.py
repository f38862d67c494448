"""A host whose whole system is the cluster's: bare metal, the lab's hosts, what boots from the control node. Pure."""

from __future__ import annotations

from typing import ClassVar

from deploys.compute_base import firewall
from deploys.compute_base.system import system_files
from deploys.files import ManagedFile
from deploys.hosts.kind import Facts, HostKind
from deploys.services.systemd import Systemd


class WholeSystem(HostKind):
    """systemd runs the services, as a user made for them; root owns what deploys write."""

    has_own_system: ClassVar[bool] = True
    owner: ClassVar[str] = "root"
    private_mode: ClassVar[str] = "0750"

    @property
    def manager(self) -> Systemd:
        """See HostKind."""
        return Systemd(self.service_user)

    @property
    def administrator(self) -> str:
        """See HostKind."""
        return self.owner

    @property
    def service_user(self) -> str:
        """See HostKind."""
        return self.settings.system.service_user

    @property
    def secrets_owner(self) -> str:
        """See HostKind."""
        return self.service_user

    @property
    def firewall(self) -> str:
        """See HostKind."""
        return firewall.mark(self.settings)

    def files(self) -> tuple[ManagedFile, ...]:
        """See HostKind."""
        return tuple(system_files(self.settings))

    def ground_facts(self) -> Facts:
        """Whether clock and own name are right, how we come in, and whether a compute node reaches the head."""
        settings = self.settings
        head = {"address": settings.head_address, "port": settings.ray.ports.gcs}
        return {
            "clock": ("facts.clock.Clock", {}),
            **({} if settings.is_control else {"reach": ("facts.reach.Reach", head)}),
            "way_in": ("facts.way_in.WayIn", {"found_ports": firewall.FOUND_PORTS}),
            "resolution": ("facts.network.Resolution", {"host_name": settings.node}),
            "own_resolution": ("facts.network.Resolution", {}),
            **({"apt_sources": ("facts.apt.Sources", {})} if settings.runtime.kind == "rocm" else {}),
            "names": ("facts.names.Names", {}),
        }

    def as_service_user(self) -> list[str]:
        """See HostKind."""
        return ["runuser", "-u", self.service_user, "--"]

    def more_space_remedy(self) -> str:
        """See HostKind."""
        if self.settings.is_booted:
            return "give it a partition labelled cluster-local (docs/netboot.md, local storage), or more memory"
        return f"free some on {self.settings.node}"
