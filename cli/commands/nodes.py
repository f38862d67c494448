"""`cluster nodes`: who takes part, while the cluster serves."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import display
from inventories.composition import members
from operate import ownership, participation, status
from operate.errors import COULD_NOT_TELL


@click.group("nodes", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the nodes as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show the nodes, or add and remove one while the cluster serves."""
    if context.invoked_subcommand:
        return
    cluster = ownership.load(context.obj)
    present = members.read(cluster.name)
    with display.progress() as progress:
        progress.phase(f"asking {cluster.control.name}")
        found = status.read(cluster)
    rows: list[dict[str, Any]] = [
        {**row, "member": "draining" if row["node"] in present.draining else "in"} for row in found.told["nodes"]
    ]
    rows += [{"node": name, "role": "compute", "member": "out", "ray": "-", "engine": "-"} for name in present.out]
    if as_json:
        display.emit({"cluster": cluster.name, "nodes": rows})
    else:
        columns = ("node", "role", "member", "ray", "engine")
        display.table(cluster.name, columns, [tuple(row[column] for column in columns) for row in rows])
    if not found.reached:
        sys.exit(COULD_NOT_TELL)


@command.command("remove")
@click.argument("node")
@click.option(
    "--drain-seconds",
    type=click.IntRange(0, 3600),
    default=participation.DRAIN_SECONDS,
    show_default=True,
    help="How long requests that run there may go on.",
)
@click.pass_obj
def remove(name: str, node: str, drain_seconds: int) -> None:
    """Take NODE out: no new requests, running ones end, then its services stop. Run again after an interruption."""
    cluster = ownership.load(name)
    with display.progress() as progress:
        removed = participation.remove(cluster, node, progress, drain_seconds=drain_seconds)
    said = f"{node} is out; back with: {cluster.command} nodes add {node}" if removed else f"{node} is out already"
    display.words().print(said)


@command.command("add")
@click.argument("what", default="1", metavar="[N|NODE]")
@click.pass_obj
def add(name: str, what: str) -> None:
    """Put NODE back in, or add N nodes where the cluster can make them (laptop, lab); then deploy and wait for proof.

    A node serves only when its engine gave the golden answer.
    """
    with display.progress() as progress:
        new = participation.add(ownership.load(name), what, progress)
    display.words().print(f"{', '.join(new) or 'nobody new'}: in, proven and serving")
