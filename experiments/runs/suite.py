"""A suite's experiments one after the other, unattended: a failed one does not keep the next from running.

All are validated before the first begins. `resume` goes on where the last run of the suite was stopped.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bundle import layout, reading
from experiments.bundle.errors import BundleError
from experiments.bundle.reading import Bundle
from experiments.configuration import resolving
from experiments.configuration.errors import ConfigurationError
from experiments.configuration.resolving import Resolved
from experiments.configuration.suites import Given, Suite
from experiments.errors import ExperimentError
from experiments.load.client import clock
from experiments.runs import against, deploying, run
from experiments.runs.errors import RunError
from experiments.runs.order import DEPLOY, Finished, Order
from operate import ownership
from operate.clusters import ClusterInventory
from operate.errors import OperatorError
from operate.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """What became of one experiment: it finished, or why it did not; `before`: it was complete already."""

    name: str
    finished: Finished | None
    failure: str = ""
    before: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "failure": self.failure,
            **(self.finished.to_json() if self.finished else {}),
            **({"bundle": str(self.before), "ran_before": True} if self.before else {}),
        }


def resolve_all(suite: Suite, extra: Given, cluster: ClusterInventory, tags: frozenset[str]) -> list[Resolved]:
    """Every experiment of a suite, held against the cluster; ConfigurationError with all that is wrong in any."""
    found, problems = [], list[str]()
    default = cluster.control.settings.model.name
    for position in range(len(suite.experiments)):
        try:
            resolved = resolving.resolve(suite, position, extra, default)
        except ConfigurationError as error:
            problems += error.problems
            continue
        problems += against.problems(resolved, cluster, tags)
        found.append(resolved)
    if problems:
        # The same line of a file may spoil every experiment that it is spread out to.
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return found


def run_suite(
    given: str,
    suite: Suite,
    extra: Given,
    progress: Progress,
    *,
    tags: frozenset[str],
    fetched: Path,
    resume: bool = False,
) -> list[Outcome]:
    """Run them all on the cluster `given`; KeyboardInterrupt stops the suite. Then the inventory is served."""
    cluster = ownership.load(given)
    listed = resolve_all(suite, extra, cluster, tags)
    before, began = _before(suite, cluster, fetched) if resume else ({}, clock())
    outcomes = []
    try:
        for position, resolved in enumerate(listed):
            name = resolved.parameters.exp_type_identifier
            earlier = before.get(position)
            if earlier is not None and earlier.state == "complete":
                progress.note(f"{name} ran before: {earlier.name}")
                outcomes.append(Outcome(name, None, before=earlier.directory))
                continue
            if len(listed) > 1:
                progress.phase(f"experiment {position + 1} of {len(listed)}: {name}")
            origin = {"suite": suite.name, "suite_began": began, "position": position, "of": len(listed)}
            order = Order(given, resolved, tags, fetched, earlier.directory if earlier else None, origin)
            outcomes.append(_one(order, name, alone=len(listed) == 1, progress=progress))
    except BaseException:
        with contextlib.suppress(OSError, OperatorError):
            if DEPLOY in tags and deploying.forget(given):
                progress.note(f"`{cluster.command} up` brings back what the inventory says")
        raise
    if DEPLOY in tags:
        deploying.restore(given, progress)
    return outcomes


def _one(order: Order, name: str, *, alone: bool, progress: Progress) -> Outcome:
    try:
        return Outcome(name, run.run(order, progress))
    except (ExperimentError, OperatorError) as error:
        if alone:
            raise
        progress.note(f"{name}: {error}")
        return Outcome(name, None, str(error))


def _before(suite: Suite, cluster: ClusterInventory, fetched: Path) -> tuple[dict[int, Bundle], float]:
    """The bundles of the suite's last run on this cluster, by position, and when that began; RunError without one."""
    found: dict[float, dict[int, Bundle]] = {}
    for directory in layout.bundles(fetched):
        with contextlib.suppress(BundleError):
            bundle = reading.read(directory)
            origin = bundle.origin
            if origin.get("suite") == suite.name and bundle.cluster == cluster.name:
                found.setdefault(float(origin["suite_began"]), {})[int(origin["position"])] = bundle
    if not found:
        raise RunError(f"{suite.name}: no run of it on {cluster.name} in {fetched}; run it without --resume")
    began = max(found)
    last = found[began]
    if len(last) == len(suite.experiments) and all(bundle.state == "complete" for bundle in last.values()):
        raise RunError(f"{suite.name}: its last run on {cluster.name} came to its end; run it without --resume")
    return last, began
