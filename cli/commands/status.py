"""`cluster status`: what is there, at a glance."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from cli import display
from operate import ownership
from operate import status as reading


@click.command("status")
@click.option("--full", is_flag=True, help="Ask every host, also where the control node knows.")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.pass_obj
def command(name: str, full: bool, as_json: bool) -> None:
    """Show nodes, engines and endpoint. `verify` judges, this only tells.

    The control node's watch service is asked, which knows; where it does not answer, and with --full, every host is.
    """
    cluster = ownership.load(name)
    with display.progress() as progress:
        progress.phase(f"asking {len(cluster.hosts)} hosts" if full else f"asking {cluster.control.name}")
        found = reading.read(cluster, full=full)
    if as_json:
        display.emit(found.told)
    else:
        _show(found.told)
    sys.exit(found.exit_code)


def _show(told: Mapping[str, Any]) -> None:
    several = len(told["models"]) > 1
    rows = [
        (
            row["node"],
            row["role"],
            row["address"],
            row["ray"],
            *([row["model"] or "-"] if several else []),
            row["engine"],
            _since(row),
            _proved(row),
            row["memory"] or "-",
        )
        for row in told["nodes"]
    ]
    display.table(
        f"{told['cluster']}: {told['application']}, {', '.join(told['models'])}",
        ("node", "role", "address", "ray", *(["model"] * several), "engine", "since", "golden answers", "resident"),
        rows,
    )
    for row in told["nodes"]:
        for said in row["trouble"]:
            display.results().print(f"{row['node']}: {said}", style="red", markup=False)
    display.results().print(
        f"endpoint {told['endpoint']}" + (f", key in {told['api_key_file']}" if told["api_key_file"] else "")
    )
    if told["source"] != "hosts":
        said = f"as {told['source']} knew it {told['age_seconds']:.0f} s ago; --full asks every host, for memory too"
        display.words().print(said, style="dim")


def _since(row: Mapping[str, Any]) -> str:
    """How long an engine has been in its state, for people."""
    if not row["since"]:
        return "-"
    return display.duration(max(time.time() - float(row["since"]), 0.0))


def _proved(row: Mapping[str, Any]) -> str:
    """Proofs that were right, of those asked, and when the last was."""
    proofs = row["proofs"]
    if not proofs or not proofs.get("last"):
        return row["reason"] or "-"
    ago = display.duration(max(time.time() - float(proofs["last"]["at"]), 0.0))
    said = f"{proofs['asked'] - proofs['failed']} of {proofs['asked']} right, last {ago} ago"
    return f"{said}; {row['reason']}" if row["reason"] else said
