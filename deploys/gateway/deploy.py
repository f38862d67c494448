"""gateway: HAProxy on the control node; a changed configuration is reloaded and cuts nobody off."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import StringCommand

from deploys import hosts, settings, shell
from deploys.gateway.configuration import digest, gateway_socket
from deploys.gateway.declared import gateway_file, gateway_service, haproxy
from deploys.operations import managed, service
from deploys.settings import Settings
from facts.gateway import Loaded


@operation()
def load(settings: Settings) -> Generator[StringCommand, None, None]:
    """Reload HAProxy unless it has the declared configuration; one that it refuses is not loaded, and the run fails."""
    wanted = gateway_file(settings)
    if host.get_fact(Loaded, socket=gateway_socket(settings)) == digest(wanted.content):
        host.noop("the gateway has the declared configuration")
        return
    yield StringCommand(shell.line(haproxy(settings), "-c", "-q", "-f", wanted.path))
    for command in hosts.of(settings).manager.reload(gateway_service(settings)):
        yield StringCommand(command)


@deploy("Gateway")
def gateway() -> None:
    """Configuration, service, reload; for the control node."""
    here = settings.of(host)
    proxy = gateway_service(here)
    unit = hosts.of(here).service_files(proxy)
    managed.write_files(name=f"Write gateway on {here.node}", files=(gateway_file(here), *unit))
    service.ensure_running(name=f"Start gateway on {here.node}", settings=here, services=(proxy,))
    load(name=f"Load the gateway's configuration on {here.node}", settings=here)
