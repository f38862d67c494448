"""`cluster up`: from whatever is there to a verified cluster and a first correct answer."""

from __future__ import annotations

import click

from cli import clusters, display, phases, runner
from cli.api import Answer, ask_golden
from cli.clusters import ClusterInventory
from cli.errors import DOES_NOT_HOLD, OperatorError
from cli.phases import Phases
from cli.preflight import refuse_bad_ground
from cli.verification.run import Verification, verify
from deploys.operations.stage import STAGES


@click.command("up")
@click.option("--only", "roles", multiple=True, type=click.Choice(["compute_base"]), help="Apply only this part.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def command(name: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Deploy the cluster, verify it and ask it a first question. Run twice, the second time changes nothing.

    The seconds of every phase are kept; a run that failed or was stopped is resumed by running it again.
    """
    cluster = clusters.load(name)
    with runner.exclusive(cluster.directory, "up"):
        before = phases.last_run(cluster)
        with display.progress() as progress:
            run = Phases(progress)
            try:
                changed, answer, checked = _run(cluster, roles, run)
            except (OperatorError, KeyboardInterrupt):
                run.stop()
                if said := phases.resume(name, run):
                    phases.keep(cluster, run.record(changed=None))
                    progress.note(said)
                raise
        record = run.record(changed=changed)
        if not roles:
            phases.keep(cluster, record)
    if as_json:
        display.emit(
            {
                "cluster": cluster.name,
                "endpoint": cluster.control.settings.endpoint,
                "changed": changed,
                "seconds": record["seconds"],
                "phases": record["phases"],
                "checks": len(checked.checks) if checked else None,
                "answer": answer.answer if answer else None,
                "node": answer.node if answer else None,
            }
        )
        return
    phases.show(record, before)
    console = display.results()
    if answer and checked:
        console.print(f"{answer.question}\n{answer.answer}", markup=False)
        console.print(
            f"answered by {answer.node}; {cluster.name} is up at {cluster.control.settings.endpoint}", style="green"
        )
        display.words().print(f"{len(checked.checks)} checks hold", style="dim")
    display.words().print(f"{changed} changes in {record['seconds']:.0f} s", style="dim")


def _run(
    cluster: ClusterInventory, roles: tuple[str, ...], run: Phases
) -> tuple[int, Answer | None, Verification | None]:
    """Changes, the first answer and the verification; the last two only after a whole run."""
    run.begin("look", f"looking at {len(cluster.hosts)} hosts")
    refuse_bad_ground(cluster)
    run.begin(next(iter(STAGES)))
    if roles:
        result = runner.deploy(cluster, f"deploys/{roles[0]}/alone.py", run.progress.hear)
        run.end()
        return result.changed, None, None
    result = runner.deploy(cluster, "deploys/all.py", run.hear)
    run.begin("verify", f"verifying {len(cluster.hosts)} hosts and their engines")
    checked = verify(cluster)
    if checked.status:
        wrong = [check.detail for check in checked.checks if check.ok is not True]
        raise OperatorError(
            f"{cluster.name} is up but does not verify: {'; '.join(wrong[:3])}; run `cluster -c {cluster.name} verify`",
            exit_code=checked.status,
        )
    run.begin("token", "asking a first question")
    answer, right = ask_golden(cluster)
    if not right:
        expected = cluster.control.settings.model.golden["expected"]
        raise OperatorError(
            f"{answer.node} answered {answer.answer!r} to {answer.question!r}, expected {expected!r}; "
            f"run `cluster -c {cluster.name} verify`",
            exit_code=DOES_NOT_HOLD,
        )
    run.end()
    return result.changed, answer, checked
