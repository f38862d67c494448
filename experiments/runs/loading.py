"""The phases benchmark and chaos of a run: records of requests, the client's health and faults, into the bundle."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from experiments.answers import Question
from experiments.bundle import journal, layout, writing
from experiments.load import records
from experiments.load.client import Endpoint
from experiments.load.health import joined
from experiments.load.records import RecordWriter, RequestRecord
from experiments.load.steps import Step
from experiments.runs import collecting, faulting, ground, steps
from experiments.runs.errors import RunError
from experiments.runs.measuring import Around, Beside, Measured, measure
from experiments.runs.order import BENCHMARK, CHAOS, Order
from experiments.runs.sitting import Sitting
from experiments.verdict import Watched, watching
from operate.api import api_key, application_of, ask_golden
from operate.clusters import ClusterInventory
from operate.errors import OperatorError


def load(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> None:
    """Send what is left of the load, with the faults beside it; RunError where the cluster does not answer."""
    endpoint = endpoint_of(cluster, str(order.resolved.parameters.model_id))
    hurt = CHAOS in order.tags and bool(order.resolved.parameters.chaos_experiment_scenario)
    faults = faulting.Faults(order.resolved, cluster) if hurt else None
    around = _around(collecting.observing(order, cluster, bundle, sitting), faults.watched if faults else None)
    beside: list[Beside] = [faults.run] if faults else []
    try:
        if BENCHMARK in order.tags:
            # Faults belong to the load that bears them: where they were not seen to their end, it is measured anew.
            whole = frozenset[str]() if hurt else ended_steps(bundle)
            _measured(order, cluster, bundle, sitting, endpoint, whole, beside, around)
        else:
            measure(endpoint, [], None, sitting.journal, sitting.progress, beside=beside, around=around)
    finally:
        if faults is not None:
            faults.keep(bundle)


def _measured(
    order: Order,
    cluster: ClusterInventory,
    bundle: Path,
    sitting: Sitting,
    endpoint: Endpoint,
    whole: frozenset[str],
    beside: list[Beside],
    around: Around,
) -> None:
    replayed, path = bundle / ground.TRACE_FILE, layout.inside(bundle, layout.REQUESTS)
    every = steps.steps(order.resolved, _golden(cluster, endpoint), replayed if replayed.exists() else None)
    todo: list[Step] = [step for step in every if step.name not in whole]
    if len(todo) < len(every):
        sitting.note(f"{len(every) - len(todo)} of {len(every)} load steps were measured before")
    kept = _kept(path, whole)
    first = max((record.number for record in kept), default=-1) + 1
    writer = RecordWriter(path)
    try:
        for record in kept:
            writer.write(record)
        with watching() as watch:
            done = measure(
                endpoint,
                todo,
                writer,
                sitting.journal,
                sitting.progress,
                first_number=first,
                beside=beside,
                around=around,
            )
    finally:
        writer.leave()
    records.seal(path)
    _keep_client(bundle, done, watch.watched())


def _around(*several: Around | None) -> Around:
    """All of them, one within the other."""

    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for one in several:
                if one is not None:
                    await stack.enter_async_context(one())
            yield

    return around


def _keep_client(bundle: Path, done: Measured, watched: Watched) -> None:
    """The client's own health. A run that went on has its last sitting's: the earlier one died with its samples."""
    health = done.health or joined([])
    writing.write_json(bundle, layout.CLIENT, {"health": vars(health), "watched": watched.to_json()})


def ended_steps(bundle: Path) -> frozenset[str]:
    """Load steps that came to their end, in whichever sitting."""
    return frozenset(
        str(entry.data["step"])
        for entry in journal.read(bundle)
        if entry.kind == "step" and entry.data.get("state") == "ended"
    )


def _kept(path: Path, whole: frozenset[str]) -> list[RequestRecord]:
    """Records of steps that were measured to their end; those of a step that was cut go, it is run again."""
    lines = path.parent / Path(layout.REQUESTS_SO_FAR).name
    if not path.exists() and not lines.exists():
        return []
    found = [record for record in records.read(path) if record.step in whole]
    path.unlink(missing_ok=True)
    lines.unlink(missing_ok=True)
    return found


def endpoint_of(cluster: ClusterInventory, model: str) -> Endpoint:
    """Where the model is asked, after it has given its golden answer once; RunError where it does not."""
    try:
        served = application_of(cluster, model).model.name
        answer, right = ask_golden(cluster, model)
        key = api_key(cluster) or ""
    except OperatorError as error:
        raise RunError(f"{error}; bring it up with `{cluster.command} up`, or run with the tag deploy") from None
    if not right:
        said = f"{answer.node} answered {answer.answer!r} to {answer.question!r}"
        raise RunError(f"{said}, which is wrong; run `{cluster.command} verify`")
    return Endpoint(cluster.control.settings.endpoint, served, key)


def _golden(cluster: ClusterInventory, endpoint: Endpoint) -> Question | None:
    """The question whose answer is known beforehand; None where it is taken when weights are fetched, or no chat's."""
    golden = application_of(cluster, endpoint.model).model.golden
    if "question" not in golden or not golden.get("expected"):
        return None
    return Question(str(golden["question"]), int(golden["max_tokens"]), str(golden["expected"]))
