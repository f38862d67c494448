"""`cluster verify`: is what runs what was declared, and does every engine answer correctly?"""

from __future__ import annotations

import sys

import click

from cli import display
from operate import ownership
from operate.verification.run import verify


@click.command("verify")
@click.option("--full", is_flag=True, help="Also read every byte of the weights again.")
@click.option("--json", "as_json", is_flag=True, help="Print all checks as JSON.")
@click.pass_obj
def command(name: str, full: bool, as_json: bool) -> None:
    """Compare the running cluster with its inventory and ask every engine the golden question.

    Exit status 0: all holds. 1: something does not, and is named with its host. 2: it could not be told.
    """
    cluster = ownership.load(name)
    with display.progress() as progress:
        progress.phase(f"asking {len(cluster.hosts)} hosts and their engines")
        done = verify(cluster, full=full)
    if done.not_left:
        display.words().print(f"this result was not left for the web page: {done.not_left}", markup=False)
    if as_json:
        display.emit(
            {
                "cluster": cluster.name,
                "ok": done.status == 0,
                "failed": done.failed,
                "unknown": done.unknown,
                "seconds": done.seconds,
                "checks": done.checks,
            }
        )
    else:
        display.checks_table(sorted(done.checks, key=lambda check: {False: 0, None: 1, True: 2}[check.ok]))
        said = "holds" if done.status == 0 else f"{done.failed} do not hold, {done.unknown} could not be told"
        display.words().print(f"{cluster.name}: {len(done.checks)} checks in {done.seconds:.1f} s: {said}")
    sys.exit(done.status)
