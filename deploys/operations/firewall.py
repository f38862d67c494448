"""Load the firewall's rules, and keep them only if the operator comes in anew through them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import gevent
from pyinfra import host, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError

from deploys import library, shell
from deploys.compute_base import declared, firewall
from deploys.settings import Settings
from facts.services import FirewallRules
from facts.way_in import WayIn

Commands = Generator[StringCommand | FunctionCommand, None, None]

# Two tries of a new connection end well before the host itself takes the rules back.
ATTEMPTS, ATTEMPT_SECONDS = 2, 25
UNDO_SECONDS = 90


@operation()
def load(settings: Settings) -> Commands:
    """Load the declared rules unless they are, proven and for every boot, with the port that we came through let in.

    A timer on the host takes them back unless a connection made after it confirms them.
    """
    mark = firewall.mark(settings)
    way = host.get_fact(WayIn, found_ports=firewall.FOUND_PORTS)
    found = {way.port} - set(settings.way_in.ports) if way.port else set()
    if host.get_fact(FirewallRules, proven=firewall.PROVEN_PATH) == mark and found <= set(way.let_in):
        host.noop("the declared rules are loaded")
        return
    guard = ("sh", library.script_path(settings, declared.FIREWALL_GUARD))
    ports = tuple(str(port) for port in sorted({*way.let_in, *found}))
    yield shell.command(*guard, "load", values=(mark, str(UNDO_SECONDS), *ports))
    arguments: Mapping[str, Any] = dict(host.current_op_global_arguments or {})
    connection = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    confirm, undo = shell.command(*guard, "confirm", values=(mark,)), shell.command(*guard, "undo")
    yield FunctionCommand(_come_in_anew, (confirm, undo, connection), {})


def _come_in_anew(
    state: State, host: Host, confirm: StringCommand, undo: StringCommand, arguments: Mapping[str, Any]
) -> bool:
    """Confirm the rules through a connection of its own; False, and the rules taken back, where none comes through."""
    why = ""
    for _ in range(ATTEMPTS):
        connector = type(host.connector)(state, host)
        try:
            with gevent.Timeout(ATTEMPT_SECONDS, TimeoutError(f"no answer within {ATTEMPT_SECONDS} s")):
                connector.connect()
                done, output = connector.run_shell_command(confirm, **arguments)
        except (ConnectError, OSError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            continue
        finally:
            if client := getattr(connector, "client", None):
                client.close()
        if done:
            return True
        why = " ".join(output.stderr.split()) or "the confirmation failed"
        break
    host.connector.run_shell_command(undo, **arguments)  # this connection was there before the rules
    logger.error(
        f"{host.print_prefix}no new connection comes in through the rules of {firewall.DECLARED_PATH} ({why}); "
        "they were taken back: compare network interface, ssh_port and addresses of the inventory with the host's own"
    )
    return False
