"""`cluster lab`: real Debian hosts on this machine, and faults for them."""

from __future__ import annotations

import sys

import click

import images
import lab
from cli import display
from cli.refusals import refusals
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS, OperatorError
from operate.progress import phases


@click.group("lab")
def command() -> None:
    """Real hosts on this machine (root): a control and N compute hosts, each a Debian with systemd and sshd."""


@command.command("up")
@click.option("--nodes", type=click.IntRange(1, 64), default=2, show_default=True, help="Number of compute hosts.")
@click.option("--json", "as_json", is_flag=True, help="Print the hosts as JSON.")
@refusals
def up(nodes: int, as_json: bool) -> None:
    """Bring the lab to --nodes compute hosts. What runs is left alone, what is broken is mended."""
    with display.progress() as progress:
        hear = phases(progress)
        # Before an image is built, which takes minutes.
        for problem in lab.preflight():
            raise OperatorError(problem)
        state = lab.up(nodes, hear, images.lab_image(hear))
    rows = [{"name": host.name, "role": host.role, "address": host.address} for host in state.hosts]
    if as_json:
        display.emit({"hosts": rows, "interface": state.interface})
        return
    display.table("lab", ("host", "role", "address"), [(row["name"], row["role"], row["address"]) for row in rows])
    display.words().print("next: cluster -c lab up")


@command.command("down")
@click.option("--keep-disks", is_flag=True, help="Keep what the hosts wrote, for the next `lab up`.")
@refusals
def down(keep_disks: bool) -> None:
    """Power the hosts off and take the lab away; the image stays."""
    with display.progress() as progress:
        lab.down(phases(progress), keep_disks=keep_disks)


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the hosts as JSON.")
@refusals
def status(as_json: bool) -> None:
    """Show the hosts: running, frozen, cut or dead."""
    state, states = lab.state(), lab.host_states()
    rows = [
        {"name": host.name, "address": host.address, "state": states.get(host.name, "dead")}
        for host in (state.hosts if state else ())
    ]
    if as_json:
        display.emit({"hosts": rows})
    elif rows:
        display.table("lab", ("host", "address", "state"), [tuple(row.values()) for row in rows])
    else:
        display.results().print("no lab is up; run `cluster lab up`")
    if not rows:
        sys.exit(COULD_NOT_TELL)
    sys.exit(HOLDS if all(row["state"] == "running" for row in rows) else DOES_NOT_HOLD)


@command.command("fault")
@click.argument("kind", type=click.Choice(list(lab.KINDS)))
@click.argument("host", shell_complete=lambda _c, _p, typed: _host_names(typed))
@refusals
def fault(kind: str, host: str) -> None:
    """Break HOST, or mend it: crash (power loss), freeze, thaw, cut (off the network), join (back, booted if off)."""
    lab.fault(kind, host)
    display.words().print(f"{host}: {kind}")


def _host_names(typed: str) -> list[str]:
    state = lab.state()
    return [host.name for host in (state.hosts if state else ()) if host.name.startswith(typed)]
