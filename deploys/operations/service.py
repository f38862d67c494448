"""Start a service, or restart it when it runs with another configuration than the declared one."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys import hosts
from deploys.services.description import Service
from deploys.settings import Settings
from facts.services import Services

Commands = Generator[StringCommand, None, None]


@operation()
def ensure_running(settings: Settings, services: tuple[Service, ...]) -> Commands:
    """Bring `services` to running, started at boot, and started with their declared configuration."""
    found = host.get_fact(Services, **hosts.of(settings).states(services))
    stale = []
    for service in services:
        state = found.get(service.name)
        if not (state and state.active and state.enabled and state.configuration == service.digest):
            stale.append(service.name)
    if not stale:
        host.noop(f"{', '.join(service.name for service in services)} running as declared")
        return
    for command in hosts.of(settings).manager.start(stale):
        yield StringCommand(command)


def restart(settings: Settings, name: str) -> Commands:
    """Commands that restart one service."""
    for command in hosts.of(settings).manager.restart(name):
        yield StringCommand(command)


@operation()
def ensure_stopped(settings: Settings, services: tuple[Service, ...]) -> Commands:
    """Stop `services` and take them out of the boot; on a supervisor, end it when it has nothing left."""
    found = host.get_fact(Services, **hosts.of(settings).states(services))
    running = [service.name for service in services if (s := found.get(service.name)) and (s.active or s.enabled)]
    if not running:
        host.noop("nothing is running")
        return
    for command in hosts.of(settings).manager.stop(running):
        yield StringCommand(command)
