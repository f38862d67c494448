"""A node as containers of one machine: an engine such as Docker or Podman does what deploys do on hosts. Pure."""

from __future__ import annotations

from typing import ClassVar

from deploys.files import ManagedFile
from deploys.hosts.kind import HostKind
from deploys.services.description import Service
from deploys.services.manager import ServiceManager
from deploys.settings import SettingsError


class Container(HostKind):
    """The paths and ports of a host of its own; users, time and firewall are the machine's, which are left alone."""

    deployed_to: ClassVar[bool] = False

    @property
    def manager(self) -> ServiceManager:
        """See HostKind."""
        raise SettingsError(
            f"{self.settings.node}: a container engine runs its services, no deploy; see docs/clusters/containers.md"
        )

    def service_files(self, *services: Service) -> tuple[ManagedFile, ...]:
        """None: they stand in the compose file."""
        return ()
