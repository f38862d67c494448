"""What every way to run services on a host offers: how a service is written down, and what one types to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from deploys.services.description import Service


class ServiceManager(Protocol):
    """Runs a host's services. Pure: commands are lines for a shell, and whoever asks for them runs them."""

    @property
    def state_directory(self) -> str:
        """Where it keeps its state, for the facts that read it; "" where the system knows by itself."""

    def path(self, service: Service) -> str:
        """Where it looks for the description of a service."""

    def text(self, service: Service) -> str:
        """The description of a service."""

    def start(self, names: Sequence[str]) -> Iterator[str]:
        """Bring these services to running with the descriptions that were written, now and at boot."""

    def stop(self, names: Sequence[str]) -> Iterator[str]:
        """Stop these services, and take them out of the boot."""

    def restart(self, name: str) -> Iterator[str]:
        """Restart one service."""

    def reload(self, service: Service) -> Iterator[str]:
        """Have a service read its configuration again, or start it."""

    def log(self, name: str) -> str:
        """Where its words are on the host: a command that shows them, or a file."""

    def restart_remedy(self, name: str, node: str, command: str) -> str:
        """What an operator does to have a service of a node restarted; `command` is theirs for this cluster."""
