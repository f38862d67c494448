"""`cluster down`: stop the cluster's services."""

from __future__ import annotations

import click

from cli import display
from operate import clusters, runner


@click.command("down")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(name: str, as_json: bool) -> None:
    """Stop the cluster. Runtime and weights stay, so that the next `up` is quick."""
    cluster = clusters.load(name)
    with runner.exclusive(cluster.directory, "down"), display.progress() as progress:
        progress.phase(f"connecting to {len(cluster.hosts)} hosts")
        result = runner.deploy(cluster, "deploys/down.py", progress.hear)
    if as_json:
        display.emit({"cluster": cluster.name, "changed": result.changed})
    else:
        display.results().print(f"{cluster.name} is down" if result.changed else f"{cluster.name} was down already")
