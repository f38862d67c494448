"""What a kind of host decides, for whoever deploys to it, looks at it or verifies it. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deploys.files import ManagedFile
from deploys.services.description import Service
from deploys.services.manager import ServiceManager
from deploys.settings import Settings

# Name of what is asked -> (fact, its arguments).
Facts = Mapping[str, tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class HostKind(ABC):
    """One host, seen as what it is to us. What a subclass does not say is so on a system that we leave alone.

    `deployed_to`: pyinfra reaches it. `has_own_system`: its packages, users, clock, limits, names and firewall are the
    cluster's. `ends_every_process`: a service that ended or was stopped has left no process behind. `owner` of files
    that only deploys write; "" is the user who runs the deploy. `private_mode` of directories that only the service
    user opens.
    """

    settings: Settings
    deployed_to: ClassVar[bool] = True
    has_own_system: ClassVar[bool] = False
    ends_every_process: ClassVar[bool] = True
    owner: ClassVar[str] = ""
    private_mode: ClassVar[str] = "0700"

    @property
    @abstractmethod
    def manager(self) -> ServiceManager:
        """What runs its services; SettingsError where no deploy may."""

    @property
    def administrator(self) -> str:
        """Who owns the directories that only deploys write to."""
        return self.settings.system.login_user

    @property
    def service_user(self) -> str:
        """Whom the services run as; what they write and their secrets are this user's."""
        return self.settings.system.login_user

    @property
    def secrets_owner(self) -> str:
        """Owner of secrets; "" is the user who runs the deploy."""
        return ""

    @property
    def machine(self) -> str:
        """Hosts with the same one share its memory, clock and names."""
        return self.settings.node

    @property
    def firewall(self) -> str:
        """The mark that its loaded firewall rules have to have; "" where the firewall is not ours."""
        return ""

    def files(self) -> tuple[ManagedFile, ...]:
        """Files that it has because of its kind, whatever its roles."""
        return ()

    def service_files(self, *services: Service) -> tuple[ManagedFile, ...]:
        """The descriptions of services, where its service manager looks for them."""
        manager = self.manager
        return tuple(ManagedFile(manager.path(one), manager.text(one), owner=self.owner) for one in services)

    def states(self, services: tuple[Service, ...]) -> dict[str, Any]:
        """Arguments for the Services fact."""
        names = tuple(service.name for service in services)
        directory = self.manager.state_directory
        return {"names": names, **({"supervisor": directory} if directory else {})}

    def network_environment(self) -> dict[str, str]:
        """Which interface an engine's collectives use: every node has one of its own, with the cluster's addresses."""
        interface = self.settings.network.interface
        # NCCL takes a list of prefixes without `=`.
        return {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}

    def tool_uv(self) -> str:
        """The uv of the tool's own environment, where that is on the host; "" where the host brings its own."""
        return ""

    def ground_facts(self) -> Facts:
        """What is asked of its system before anything is started."""
        return {}

    def as_service_user(self) -> list[str]:
        """Words before a command that make it the service user's, for one that root types."""
        return []

    def more_space_remedy(self) -> str:
        """How an operator makes room on the disk that runtime and weights are on."""
        return "free some, or move it with CLUSTER_CACHE"
