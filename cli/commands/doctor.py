"""`cluster doctor`: cause and fix of what would go wrong, before anything is started."""

from __future__ import annotations

import sys

import click

from cli import display
from operate import ownership
from operate.doctor import examine
from operate.errors import verdict


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print all checks as JSON.")
@click.pass_obj
def command(name: str, as_json: bool) -> None:
    """Look at the hosts and name what would go wrong, with its fix. Changes nothing."""
    cluster = ownership.load(name)
    with display.progress() as progress:
        progress.phase(f"examining {len(cluster.hosts)} hosts")
        checks = examine(cluster)
    if as_json:
        display.emit({"cluster": cluster.name, "checks": checks})
    else:
        display.checks_table(checks)
    sys.exit(verdict(checks))
