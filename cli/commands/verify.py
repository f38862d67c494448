"""`cluster verify`: is what runs what was declared, and does every engine answer correctly?"""

from __future__ import annotations

import sys
import time

import click

from cli import clusters, display, runner
from cli.commands.doctor import verdict
from cli.errors import COULD_NOT_TELL
from cli.verification.ask import requests
from cli.verification.judge import judge
from cli.verification.record import leave, record


@click.command("verify")
@click.option("--full", is_flag=True, help="Also read every byte of the weights again.")
@click.option("--json", "as_json", is_flag=True, help="Print all checks as JSON.")
@click.pass_obj
def command(name: str, full: bool, as_json: bool) -> None:
    """Compare the running cluster with its inventory and ask every engine the golden question.

    Exit status 0: all holds. 1: something does not, and is named with its host. 2: it could not be told.
    """
    started = time.monotonic()
    cluster = clusters.load(name)
    with display.progress() as progress:
        progress.phase(f"asking {len(cluster.hosts)} hosts and their engines")
        found = runner.observe(cluster, requests(cluster, full=full))
    checks = judge(cluster, found)
    seconds = round(time.monotonic() - started, 2)
    status = verdict(checks)
    if status == 0 and any(check.ok is None for check in checks):
        status = COULD_NOT_TELL
    if found[cluster.control.name].connected:
        holds = {0: True, COULD_NOT_TELL: None}.get(status, False)
        problem = leave(cluster, record(checks, ok=holds, seconds=seconds))
        if problem:
            display.words().print(f"this result was not left for the web page: {problem}")
    failed = sum(check.ok is False for check in checks)
    unknown = sum(check.ok is None for check in checks)
    if as_json:
        display.emit(
            {
                "cluster": cluster.name,
                "ok": status == 0,
                "failed": failed,
                "unknown": unknown,
                "seconds": seconds,
                "checks": checks,
            }
        )
    else:
        display.checks_table(sorted(checks, key=lambda check: {False: 0, None: 1, True: 2}[check.ok]))
        said = "holds" if status == 0 else f"{failed} do not hold, {unknown} could not be told"
        display.words().print(f"{cluster.name}: {len(checks)} checks in {seconds:.1f} s: {said}")
    sys.exit(status)
