"""One run of one experiment: deploy, load and faults, telemetry, judgement, report, manifest. Unix seconds.

However it ends, what was collected is readable: a run that is stopped leaves a partial bundle, and goes on from there.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from experiments.bundle import layout, manifest, reading, writing
from experiments.bundle.errors import BundleError
from experiments.bundle.journal import Journal
from experiments.configuration.errors import ConfigurationError
from experiments.load.client import clock
from experiments.runs import against, deploying, ground, lock
from experiments.runs.errors import RunError
from experiments.runs.order import BENCHMARK, CHAOS, DEPLOY, JUDGE, TELEMETRY, Finished, Order
from experiments.runs.sitting import Sitting, stops
from operate import ownership
from operate.clusters import ClusterInventory
from operate.progress import Progress


def refuse(order: Order, cluster: ClusterInventory) -> None:
    """ConfigurationError or RunError for an order that cannot be carried out; nothing has begun yet."""
    if found := against.problems(order.resolved, cluster, order.tags):
        raise ConfigurationError(found)
    if order.resume is not None:
        seen = reading.read(order.resume)
        if seen.state == "complete":
            raise RunError(
                f"{seen.name} came to its end; run the experiment anew, or `cluster experiment replay {seen.name}`"
            )
        if seen.values and seen.values != order.resolved.values():
            changed = [name for name, value in order.resolved.values().items() if seen.values.get(name) != value]
            raise RunError(
                f"{seen.name}: {', '.join(changed)} changed since it was stopped; give what it had "
                f"({layout.CONFIGURATION} in the bundle), or run without --resume"
            )


def run(order: Order, progress: Progress) -> Finished:
    """Carry an order out; ExperimentError and OperatorError say what ended it, KeyboardInterrupt that it was stopped.

    One at a time on a cluster. The partial bundle's name is told to `progress` before any of these is raised.
    """
    cluster = ownership.load(order.cluster)
    refuse(order, cluster)
    with lock.exclusive(cluster, f"experiment {order.name}"), stops():
        begun = time.monotonic()
        bundle = order.resume or writing.new_directory(order.fetched, order.name, clock())
        earlier = reading.read(bundle) if order.resume else None
        manifest.remove(bundle)
        journal = Journal(bundle)
        try:
            started = earlier.started if earlier and earlier.started else clock()
            journal.add("run", cluster=cluster.name, tags=sorted(order.tags), resumed=bool(earlier), **order.origin)
            sitting = Sitting(journal, progress, earlier.phases_ended if earlier else frozenset())
            _phases(order, cluster, bundle, sitting)
            journal.close()
            manifest.write(
                bundle, cluster=cluster.name, started=started, ended=clock(), state="complete", also=_also(order)
            )
            _report(bundle, progress)
        except BaseException:  # a defect of ours too leaves what was collected
            with contextlib.suppress(OSError):
                journal.close()
            _leave_partial(order, cluster, bundle, progress)
            raise
    verdict = _verdict(bundle)
    return Finished(bundle, *verdict, round(time.monotonic() - begun, 1))


def _phases(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> None:
    # What measures and judges takes seconds to load: it is loaded where it is needed, so that refusals come at once.
    with sitting.phase("prepare", f"{bundle.name}: configuration, versions, inventory, plan"):
        ground.write(bundle, cluster, order.resolved)
    if DEPLOY in order.tags:
        # Again in each sitting: it changes nothing where the cluster is as it was left.
        with sitting.phase(DEPLOY, f"deploying {cluster.name}"):
            cluster = deploying.deploy(order.cluster, order.resolved.parameters, sitting)
            ground.write_inventory(bundle, cluster)
    measuring = {BENCHMARK, CHAOS} & order.tags
    if not measuring <= sitting.ended:
        with contextlib.ExitStack() as stack:
            for phase in (BENCHMARK, CHAOS):
                if phase in measuring:
                    stack.enter_context(sitting.phase(phase, f"{phase} on {cluster.name}"))
            from experiments.runs import loading

            loading.load(order, cluster, bundle, sitting)
    if TELEMETRY in order.tags and TELEMETRY not in sitting.ended:
        with sitting.phase(TELEMETRY, "collecting telemetry"):
            from experiments.runs import collecting

            collecting.collect(order, cluster, bundle, sitting)
    with sitting.phase(JUDGE, "judging the run"):
        from experiments.runs import judging

        judging.judge(order, cluster, bundle, sitting)


def _report(bundle: Path, progress: Progress) -> None:
    from experiments.runs import judging

    judging.report(bundle, progress)


def _leave_partial(order: Order, cluster: ClusterInventory, bundle: Path, progress: Progress) -> None:
    """A manifest of what there is, where the disk takes one; without it the bundle is read from its journal."""
    with contextlib.suppress(BundleError):
        seen = reading.read(bundle)
        manifest.write(
            bundle,
            cluster=cluster.name,
            started=seen.started or clock(),
            ended=clock(),
            state="partial",
            also=_also(order),
        )
    progress.note(f"{bundle} is partial and readable; the same command with --resume goes on from there")


def _also(order: Order) -> dict[str, Any]:
    return {"tags": sorted(order.tags), **order.origin}


def _verdict(bundle: Path) -> tuple[str, tuple[dict[str, Any], ...]]:
    found = writing.read_json(bundle, layout.VERDICT)
    if not isinstance(found, dict):
        return "", ()
    return str(found.get("verdict", "")), tuple(cause for cause in found.get("causes", []) if isinstance(cause, dict))
