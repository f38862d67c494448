"""`cluster up`: from whatever is there to a verified cluster and a first correct answer."""

from __future__ import annotations

import click

from cli import display
from operate import ownership, phases
from operate.up import BOOT_SECONDS, Up, up


@click.command("up")
@click.option(
    "--only",
    type=click.Choice(["boot", "compute_base"]),
    help="Only this part: bring up the nodes that boot from the control node, or apply their base.",
)
@click.option(
    "--boot-seconds",
    type=click.IntRange(1, 86_400),
    default=BOOT_SECONDS,
    show_default=True,
    help="How long to wait for nodes that boot from the control node.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(name: str, only: str | None, boot_seconds: int, as_json: bool) -> None:
    """Deploy the cluster, verify it and ask it a first question. Run twice, the second time changes nothing.

    Where compute nodes boot from the control node, this is the whole way from power-on: boot server, image, power.
    The seconds of every phase are kept; a run that failed or was stopped is resumed by running it again.
    """
    cluster = ownership.load(name)
    with display.progress() as progress:
        done = up(cluster, progress, only=only or "", boot_seconds=boot_seconds)
    for problem in done.problems:
        display.words().print(problem, markup=False)
    endpoint = cluster.control.settings.endpoint
    if as_json:
        display.emit(
            {
                "cluster": cluster.name,
                "endpoint": endpoint,
                "changed": done.changed,
                "seconds": done.record["seconds"],
                "phases": done.record["phases"],
                "checks": len(done.verification.checks) if done.verification else None,
                "answer": done.answer.answer if done.answer else None,
                "node": done.answer.node if done.answer else None,
            }
        )
    else:
        _show(done, f"{cluster.name} is up at {endpoint}")


def _show(done: Up, up_at: str) -> None:
    columns = ("phase", "", "seconds", "last time")
    display.table("", columns, phases.rows(done.record, done.before), console=display.words())
    console = display.results()
    if done.answer and done.verification:
        console.print(f"{done.answer.question}\n{done.answer.answer}", markup=False)
        console.print(f"answered by {done.answer.node}; {up_at}", style="green")
        display.words().print(f"{len(done.verification.checks)} checks hold", style="dim")
    display.words().print(f"{done.changed} changes in {done.record['seconds']:.0f} s", style="dim")
