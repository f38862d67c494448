"""From whatever is there to a verified cluster and a first right answer: the whole way of `cluster up`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploys.stages import STAGES
from operate import ownership, phases, runner
from operate.api import Answer, ask_golden
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, OperatorError
from operate.phases import Phases
from operate.preflight import refuse_unready_hosts
from operate.progress import Progress
from operate.verification.run import Verification, verify

BOOT_SECONDS = 900


@dataclass(frozen=True)
class Up:
    """What a run did. `answer` and `verification` are None when only a part was asked for.

    `record` is the run as it was kept, `before` the last whole run of the same part; `problems` is what went wrong
    beside the work and is no failure.
    """

    changed: int
    record: dict[str, Any]
    before: dict[str, Any] | None
    answer: Answer | None
    verification: Verification | None
    problems: tuple[str, ...]


def up(cluster: ClusterInventory, progress: Progress, *, only: str = "", boot_seconds: int = BOOT_SECONDS) -> Up:
    """Bring the cluster up, or only its part `boot` or `compute_base`. OperatorError where something stops it.

    A run that ends early is kept with the phase in which it did.
    """
    with ownership.exclusive(cluster, "up"):
        before = phases.last_run(cluster, only)
        run = Phases(progress, only)
        try:
            changed, answer, checked = _run(cluster, only, boot_seconds, run)
        except (OperatorError, KeyboardInterrupt):
            run.stop()
            if said := phases.resume(cluster.command, run):
                if problem := phases.keep(cluster, run.record(changed=None)):
                    progress.note(problem)
                progress.note(said)
            raise
        record = run.record(changed=changed)
        problems = [phases.keep(cluster, record)]
    if checked and checked.not_left:
        problems.insert(0, f"this result was not left for the web page: {checked.not_left}")
    return Up(changed, record, before, answer, checked, tuple(filter(None, problems)))


def _run(
    cluster: ClusterInventory, only: str, boot_seconds: int, run: Phases
) -> tuple[int, Answer | None, Verification | None]:
    """Changes, the first answer and the verification; the last two only after a whole run."""
    changed = 0
    if only == "boot" or (not only and cluster.control.settings.boots_nodes):
        # Loaded here: few clusters boot their nodes, and images take a second to load.
        from operate.power_on import power_on

        changed += power_on(cluster, run, boot_seconds=boot_seconds)
        if only == "boot":
            return changed, None, None
    run.begin("look", f"looking at {len(cluster.hosts)} hosts")
    for unknown in refuse_unready_hosts(cluster):
        run.progress.note(unknown.detail)
    run.begin(next(iter(STAGES)))
    if only:
        changed += runner.deploy(cluster, f"deploys/{only}/alone.py", run.progress.event).changed
        run.end()
        return changed, None, None
    changed += runner.deploy(cluster, "deploys/all.py", run.event).changed
    run.begin("verify", f"verifying {len(cluster.hosts)} hosts and their engines")
    checked = verify(cluster)
    refuse_unverified(cluster, checked)
    run.begin("token", "asking a first question")
    answer, right = ask_golden(cluster)
    refuse_wrong(cluster, answer, right)
    run.end()
    return changed, answer, checked


def refuse_unverified(cluster: ClusterInventory, checked: Verification) -> None:
    """OperatorError with the first three checks that do not hold, and the verification's exit status. Pure."""
    if checked.status:
        wrong = [check.detail for check in checked.checks if check.ok is not True]
        raise OperatorError(
            f"{cluster.name} is up but does not verify: {'; '.join(wrong[:3])}; run `{cluster.command} verify`",
            exit_code=checked.status,
        )


def refuse_wrong(cluster: ClusterInventory, answer: Answer, right: bool) -> None:
    """OperatorError for a first answer that is not the model's golden one. Pure."""
    if not right:
        expected = cluster.control.settings.model.golden["expected"]
        raise OperatorError(
            f"{answer.node} answered {answer.answer!r} to {answer.question!r}, expected {expected!r}; "
            f"run `{cluster.command} verify`",
            exit_code=DOES_NOT_HOLD,
        )
