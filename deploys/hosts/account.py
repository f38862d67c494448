"""A node as processes in the operator's own account, on a machine that it shares with the other nodes. Pure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from deploys.files import ManagedFile
from deploys.hosts.kind import Facts, HostKind
from deploys.services.supervisor import Supervisor


class Account(HostKind):
    """A supervisor of the node's own runs the services. Nothing here needs root, and nothing changes the system."""

    ends_every_process: ClassVar[bool] = False

    @property
    def manager(self) -> Supervisor:
        """See HostKind."""
        return Supervisor(self.settings.node, self.settings.directories.state)

    @property
    def machine(self) -> str:
        """The tool's own."""
        return ""

    def files(self) -> tuple[ManagedFile, ...]:
        """The supervisor's configuration."""
        return (self.manager.file(),)

    def network_environment(self) -> dict[str, str]:
        """The nodes share the machine's interfaces, so none names a node."""
        return {}

    def tool_uv(self) -> str:
        """The tool runs on this machine, and the runtime is for the Python that the tool runs on."""
        return str(Path(sys.executable).parent / "uv")

    def ground_facts(self) -> Facts:
        """Whether the library is there that a host with a system of ours gets installed."""
        return {"numa": ("facts.libraries.Library", {"library": "libnuma.so.1"})}
