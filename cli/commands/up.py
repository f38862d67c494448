"""`cluster up`: from whatever is there to a first correct answer."""

from __future__ import annotations

import time

import click

from cli import clusters, display, runner
from cli.api import ask_golden
from cli.errors import DOES_NOT_HOLD, OperatorError
from cli.preflight import refuse_bad_ground


@click.command("up")
@click.option("--only", "roles", multiple=True, type=click.Choice(["compute_base"]), help="Apply only this part.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(name: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Deploy the cluster and ask it a first question. Run twice, the second time changes nothing."""
    started = time.monotonic()
    cluster = clusters.load(name)
    with runner.exclusive(cluster.directory, "up"), display.progress() as progress:
        progress.phase(f"looking at {len(cluster.hosts)} hosts")
        refuse_bad_ground(cluster)
        deploy_file = f"deploys/{roles[0]}/alone.py" if roles else "deploys/all.py"
        result = runner.deploy(cluster, deploy_file, progress.hear)
        if roles:
            answer = None
        else:
            progress.phase("asking a first question")
            answer, right = ask_golden(cluster)
    seconds = round(time.monotonic() - started, 1)
    if answer and not right:
        expected = cluster.control.settings.model.golden["expected"]
        raise OperatorError(
            f"{answer.node} answered {answer.answer!r} to {answer.question!r}, expected {expected!r}; "
            f"run `cluster -c {cluster.name} verify`",
            exit_code=DOES_NOT_HOLD,
        )
    if as_json:
        display.emit(
            {
                "cluster": cluster.name,
                "endpoint": cluster.control.settings.endpoint,
                "changed": result.changed,
                "seconds": seconds,
                "answer": answer.answer if answer else None,
                "node": answer.node if answer else None,
            }
        )
        return
    console = display.results()
    if answer:
        console.print(f"{answer.question}\n{answer.answer}", markup=False)
        console.print(
            f"answered by {answer.node}; {cluster.name} is up at {cluster.control.settings.endpoint}", style="green"
        )
    display.words().print(f"{result.changed} changes in {seconds:.0f} s", style="dim")
