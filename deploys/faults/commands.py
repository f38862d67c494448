"""What does a fault to a host: shell lines and the programs that they read from standard input. Pure, but for those.

A line runs as the administrator of the host. Whoever sends it knows whose hosts these are.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploys import hosts, runtime_lock, shell
from deploys.environment import ray_client
from deploys.ray_worker.declared import WORKER
from deploys.settings import Settings
from facts import sources

# On a host whose engine is broken on purpose: weights that a model would never have.
GARBAGE = "/var/tmp/garbage"  # noqa: S108 (on the host)
_PROGRAMS = "deploys.faults.programs"


@dataclass(frozen=True)
class Command:
    """A line of shell, and what it reads."""

    line: str
    stdin: str = ""


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
