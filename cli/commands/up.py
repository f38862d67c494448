"""`cluster up`: from whatever is there to a verified cluster and a first correct answer."""

from __future__ import annotations

import click

from cli import display
from deploys.stages import STAGES
from operate import clusters, phases, runner
from operate.api import Answer, ask_golden
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, OperatorError
from operate.phases import Phases
from operate.power_on import BOOT_SECONDS, boots_nodes, power_on
from operate.preflight import refuse_bad_ground
from operate.verification.run import Verification, verify


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
    cluster = clusters.load(name)
    with runner.exclusive(cluster.directory, "up"):
        before = phases.last_run(cluster, only or "")
        with display.progress() as progress:
            run = Phases(progress, only or "")
            try:
                changed, answer, checked = _run(cluster, name, only, boot_seconds, run)
            except (OperatorError, KeyboardInterrupt):
                run.stop()
                if said := phases.resume(name, run):
                    if problem := phases.keep(cluster, run.record(changed=None)):
                        progress.note(problem)
                    progress.note(said)
                raise
        record = run.record(changed=changed)
        if problem := phases.keep(cluster, record):
            display.words().print(problem, markup=False)
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
    columns = ("phase", "", "seconds", "last time")
    display.table("", columns, phases.rows(record, before), console=display.words())
    console = display.results()
    if answer and checked:
        console.print(f"{answer.question}\n{answer.answer}", markup=False)
        console.print(
            f"answered by {answer.node}; {cluster.name} is up at {cluster.control.settings.endpoint}", style="green"
        )
        display.words().print(f"{len(checked.checks)} checks hold", style="dim")
    display.words().print(f"{changed} changes in {record['seconds']:.0f} s", style="dim")


def _run(
    cluster: ClusterInventory, name: str, only: str | None, boot_seconds: int, run: Phases
) -> tuple[int, Answer | None, Verification | None]:
    """Changes, the first answer and the verification; the last two only after a whole run."""
    changed = 0
    if only == "boot" or (only is None and boots_nodes(cluster)):
        changed += power_on(cluster, name, run, boot_seconds=boot_seconds)
        if only == "boot":
            return changed, None, None
    run.begin("look", f"looking at {len(cluster.hosts)} hosts")
    for unknown in refuse_bad_ground(cluster):
        run.progress.note(unknown.detail)
    run.begin(next(iter(STAGES)))
    if only:
        changed += runner.deploy(cluster, f"deploys/{only}/alone.py", run.progress.hear).changed
        run.end()
        return changed, None, None
    changed += runner.deploy(cluster, "deploys/all.py", run.hear).changed
    run.begin("verify", f"verifying {len(cluster.hosts)} hosts and their engines")
    checked = verify(cluster)
    if checked.not_left:
        display.words().print(f"this result was not left for the web page: {checked.not_left}", markup=False)
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
    return changed, answer, checked
