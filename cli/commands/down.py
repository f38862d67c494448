"""`cluster down`: stop the cluster's services."""

from __future__ import annotations

import click

from cli import display
from operate import ownership
from operate.down import down


@click.command("down")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(name: str, as_json: bool) -> None:
    """Stop the cluster. Runtime and weights stay, so that the next `up` is quick."""
    cluster = ownership.load(name)
    with display.progress() as progress:
        changed = down(cluster, progress)
    if as_json:
        display.emit({"cluster": cluster.name, "changed": changed})
    else:
        display.results().print(f"{cluster.name} is down" if changed else f"{cluster.name} was down already")
