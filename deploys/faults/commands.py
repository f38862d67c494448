"""What does a fault to a host: shell lines and the programs that they read from standard input. Pure, but for those.

A line runs as the administrator of the host. Whoever sends it knows whose hosts these are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploys import hosts, runtime_lock, shell
from deploys.environment import ray_client
from deploys.ray_worker.declared import WORKER
from deploys.settings import Settings
from facts import sources

# On a host whose engine is broken on purpose: weights that a model would never have.
GARBAGE = "/var/tmp/garbage"  # noqa: S108 (on the host)
_PROGRAMS = "deploys.faults.programs"
GUARD = f"{_PROGRAMS}.fault_guard"
SSH_PORT = 22


@dataclass(frozen=True)
class Command:
    """A line of shell, and what it reads."""

    line: str
    stdin: str = ""


@dataclass(frozen=True)
class Order:
    """A fault for one host, which heals itself after `seconds`. `parameters` are whole (catalogue.parameters_of)."""

    name: str
    seconds: float
    parameters: Mapping[str, Any] = field(default_factory=dict)


def signal(process: str, number: str, node: str) -> Command:
    """Send a signal, by its name, to a node's processes whose title or program begins so; it prints {at, processes}."""
    return Command(shell.line("python3", "-", process, number, node), sources.text(f"{_PROGRAMS}.signal_process"))


def make_garbage(settings: Settings) -> Command:
    """Shuffle a node's weights into GARBAGE, with little of its processors."""
    words = (_python(settings), "-", settings.model.directory, GARBAGE)
    return Command(shell.line("nice", "-n", "15", *words), sources.text(f"{_PROGRAMS}.garbage_weights"))


def scramble(control: Settings, node: str) -> Command:
    """Give GARBAGE to the engine of a node while it serves; for the control node."""
    variables = [f"{name}={value}" for name, value in ray_client(control).items()]
    head = f"{control.head_address}:{control.ray.ports.gcs}"
    words = (*hosts.of(control).as_service_user(), "env", *variables)
    return Command(
        shell.line(*words, _python(control), "-", head, node, GARBAGE), sources.text(f"{_PROGRAMS}.scramble")
    )


def restart_worker(settings: Settings) -> Command:
    """Begin the node's Ray worker anew, and its engine with it."""
    return Command("; ".join(hosts.of(settings).manager.restart(WORKER)))


def _python(settings: Settings) -> str:
    return f"{runtime_lock.directory(settings)}/bin/python"


def inject(settings: Settings, order: Order, controller: str) -> Command:
    """Do a planned fault on a host; it prints a line of JSON (programs/fault_guard.py)."""
    said = {
        "name": order.name,
        "seconds": order.seconds,
        "parameters": dict(order.parameters),
        "context": context(settings, controller),
    }
    return _guard(settings, "inject", json.dumps(said, sort_keys=True))


def heal(settings: Settings, name: str) -> Command:
    """Undo a fault on a host and read back; what its history says where the timer was first."""
    return _guard(settings, "heal", name)


def look(settings: Settings, controller: str) -> Command:
    """What is to be seen of every fault on a host, and how those that are over were healed."""
    return _guard(settings, "look", json.dumps(context(settings, controller), sort_keys=True))


def context(settings: Settings, controller: str) -> dict[str, object]:
    """What a host's program has to know of its host. `controller`: the identity of the system that asks."""
    return {
        "node": settings.node,
        "interface": settings.network.interface,
        "peers": dict(settings.network.peers),
        "operator_ports": sorted({SSH_PORT, *settings.way_in.ports}),
        "controller": controller,
        "shared_machine": settings.system.shared_machine,
        "runtime_python": _python(settings),
    }


def directory(settings: Settings) -> str:
    """Where a host keeps its faults' program and records: gone with a reboot, as the faults are."""
    own = hosts.of(settings).has_own_system
    return "/run/cluster-faults" if own else f"{settings.directories.state}/faults"


def _guard(settings: Settings, *words: str) -> Command:
    """The program is written to the host first, whole: its timer starts it when nobody sends anything any more."""
    here = directory(settings)
    place, program = shlex.quote(here), f"{here}/guard.py"
    write = f"umask 077; mkdir -p {place} && cat > {place}/guard.$$ && mv -f {place}/guard.$$ {place}/guard.py"
    start = shell.line("python3", program, here, values=words)
    return Command(f"{write} && exec {start}", sources.text(GUARD))
