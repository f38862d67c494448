"""The faults of an experiment: its parameters as a plan, held against the cluster, and carried out beside the load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploys.faults import catalogue
from deploys.faults.catalogue import FaultPlanError
from deploys.programs.private_names import ENGINE_PROCESS
from experiments.bundle import layout, writing
from experiments.bundle.journal import Journal
from experiments.configuration.resolving import Resolved
from experiments.errors import ExperimentError
from experiments.lab_cluster import read_cluster
from experiments.recovery import marks
from experiments.runs.measuring import Measuring
from experiments.schedule import chaos
from experiments.schedule.plan import PlannedFault, from_value
from experiments.schedule.windows import FaultWindow
from operate.clusters import ClusterInventory

# A container's place is taken by a process; these have a name for people.
CONTAINERS = {"engine": ENGINE_PROCESS}
ANY, ALL = "any", "all"
LOOKS, MARKS = f"{layout.DIVERSE}/looks.json", f"{layout.DIVERSE}/marks.json"
# Far beyond any run: who looks ends with the run.
WATCH_SECONDS = 24 * 3600.0


def plan(resolved: Resolved) -> tuple[PlannedFault, ...]:
    """What is done to whom, and when, counted from the first measured request; FaultPlanError for what cannot be."""
    told = resolved.parameters
    given = told.chaos_anomaly_injection_parameters
    for name in given:
        if name not in told.chaos_experiment_scenario:
            raise FaultPlanError(f"parameters for {name}, which is not in chaos_experiment_scenario; take them out")
    return tuple(
        from_value(
            "chaos_experiment_scenario",
            {
                "fault": name,
                "target": target(told.chaos_anomaly_injection_target_nodes),
                "begin_seconds": told.chaos_anomaly_injection_start,
                "hold_seconds": told.chaos_anomaly_injection_duration,
                "parameters": {
                    **_container(name, told.chaos_anomaly_injection_target_container),
                    **given.get(name, {}),
                },
                "claims": told.chaos_anomaly_injection_claims,
            },
        )
        for name in told.chaos_experiment_scenario
    )


def target(nodes: list[str]) -> Any:
    """One compute node by the seed, all of them, or those that are named."""
    if nodes == [ANY]:
        return {"count": 1}
    return {} if nodes == [ALL] else nodes


def problems(resolved: Resolved, cluster: ClusterInventory, load_seconds: float | None) -> Iterator[str]:
    """What is wrong with the faults, with the place of the value. `load_seconds`: how long a load is beside them."""
    told, places = resolved.parameters, resolved.places
    if not told.chaos_experiment_scenario:
        return
    where = places["chaos_experiment_scenario"]
    try:
        planned = plan(resolved)
        hosts = read_cluster(cluster.given)
        chaos.placed(hosts, planned, seed=told.llm_benchmark_seed)
    except (FaultPlanError, ExperimentError) as error:
        yield f"{where}: {error}"
        return
    ends = told.chaos_anomaly_injection_start + told.chaos_anomaly_injection_duration
    if load_seconds is not None and ends > load_seconds:
        yield (
            f"{places['chaos_anomaly_injection_duration']}: faults end {ends:g} s after the first measured request, "
            f"and the load {load_seconds:g} s; make llm_benchmark_duration longer, or the faults shorter"
        )


class Faults:
    """The faults of one run: what runs beside the load, who looks at the replicas meanwhile, and what came of it."""

    def __init__(self, resolved: Resolved, cluster: ClusterInventory) -> None:
        self.planned, self.hosts = plan(resolved), read_cluster(cluster.given)
        self.seed = resolved.parameters.llm_benchmark_seed
        self.windows: list[FaultWindow] = []

    async def run(self, state: Measuring) -> None:
        """Carry the plan out from the first measured request on. A stop heals what is there first."""
        if not await _first(state.measured, state.stop):
            return
        work = asyncio.create_task(chaos.run(self.hosts, self.planned, _lines(state.journal), seed=self.seed))
        stopped = asyncio.create_task(state.stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
            await asyncio.wait({work})  # what is there is healed
        if not work.cancelled():
            self.windows.extend(work.result())

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at every replica from outside while the block runs."""
        async with self.hosts.watched(WATCH_SECONDS):
            yield

    def keep(self, bundle: Path) -> None:
        """What was done, what was seen of the replicas, and what the engines wrote down of their own life."""
        if not self.windows:
            return
        writing.write_json(bundle, layout.FAULTS, self.windows)
        writing.write_json(bundle, LOOKS, self.hosts.looks)
        nodes = [name for name, settings in self.hosts.hosts.items() if settings.runs_engine]
        with contextlib.suppress(ExperimentError):  # a host that is still away has no say; its record is asked no more
            writing.write_json(bundle, MARKS, asyncio.run(marks.collect(self.hosts, nodes)))


async def _first(wanted: asyncio.Event, stop: asyncio.Event) -> bool:
    """Whether the one came before the other."""
    tasks = [asyncio.create_task(event.wait()) for event in (wanted, stop)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return not stop.is_set()


def _lines(journal: Journal) -> chaos.Journal:
    def write(line: Mapping[str, Any]) -> None:
        journal.add(str(line["kind"]), **{key: value for key, value in line.items() if key != "kind"})

    return write


def _container(name: str, given: str | None) -> dict[str, Any]:
    """The process or service that is named, for faults that take one."""
    if given is None or name not in catalogue.CATALOGUE:
        return {}
    taken = [key for key in ("process", "service") if key in catalogue.kind_of(name).parameters]
    return {key: CONTAINERS.get(given, given) for key in taken}
