"""An experiment held against its cluster before anything runs: does it say enough, does the model fit?

Reads the inventory only. Each problem is one line with the place of the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploys.vllm.settings import Application
from experiments.configuration.errors import Place
from experiments.configuration.parameters import Parameters
from experiments.configuration.resolving import Resolved
from experiments.errors import ExperimentError
from experiments.runs import steps
from experiments.runs.order import BENCHMARK, CHAOS, DEPLOY
from hardware.model import ProfileError
from hardware.planner.errors import PlanError
from hardware.planner.fit import fit_as
from hardware.planner.options import declared
from inventories import models
from inventories.composition.chosen import Chosen
from operate.clusters import ClusterInventory
from operate.places import place_for


def problems(resolved: Resolved, cluster: ClusterInventory, tags: frozenset[str]) -> list[str]:
    """All that is wrong; empty where the experiment can be run."""
    found = list(_of_the_model(resolved, cluster, tags))
    if BENCHMARK in tags:
        found += _of_the_load(resolved)
    if CHAOS in tags and resolved.parameters.chaos_experiment_scenario:
        # It takes a second to load: only who breaks something waits for it.
        from experiments.runs import faulting

        found += faulting.problems(resolved, cluster, _load_seconds(resolved) if BENCHMARK in tags else None)
    return found


def choice(parameters: Parameters, cluster: ClusterInventory) -> Chosen | None:
    """What has to be deployed in place of what the inventory says; None where it serves just that."""
    settings = cluster.control.settings
    served = next((one for one in settings.applications if parameters.model_id in one.model.names), None)
    if not _otherwise(parameters, served):
        return None
    return Chosen(
        model=None if served is settings.applications[0] else parameters.model_id,
        replicas=parameters.exp_global_data_parallelism,
        dtype=parameters.engine_dtype,
        enforce_eager=parameters.engine_enforce_eager,
        engine=parameters.engine_arguments,
    )


def _otherwise(parameters: Parameters, served: Application | None) -> list[str]:
    """Parameters that ask for another thing than what is served; None where the model itself is not."""
    if served is None:
        return ["model_id"]
    now = {
        "exp_global_data_parallelism": len(served.nodes),
        "engine_dtype": served.serving.dtype,
        "engine_enforce_eager": served.serving.enforce_eager,
    }
    found = [name for name, value in now.items() if getattr(parameters, name) not in (None, value)]
    arguments = parameters.engine_arguments
    if arguments is not None and not arguments.items() <= served.serving.engine.items():
        found.append("engine_arguments")
    return found


def _of_the_model(resolved: Resolved, cluster: ClusterInventory, tags: frozenset[str]) -> Iterator[str]:
    parameters, places = resolved.parameters, resolved.places
    applications = cluster.control.settings.applications
    served = next((one for one in applications if parameters.model_id in one.model.names), None)
    otherwise = _otherwise(parameters, served)
    if not otherwise:
        return
    place = places[otherwise[0]]
    replicas = parameters.exp_global_data_parallelism
    if replicas is not None and replicas > len(cluster.compute):
        yield (
            f"{places['exp_global_data_parallelism']}: exp_global_data_parallelism is {replicas}, and {cluster.name} "
            f"has {len(cluster.compute)} compute nodes, an engine each; `{cluster.command} nodes add` makes more"
        )
    if DEPLOY not in tags:
        serves = ", ".join(one.model.name for one in applications)
        yield (
            f"{place}: {otherwise[0]} is {getattr(parameters, otherwise[0])!r}, and {cluster.name} serves {serves} as "
            "its inventory says; run it with the tag deploy"
        )
    try:
        entry = models.entry(str(parameters.model_id))
        first = applications[0].serving
        # Options of the inventory's own model say nothing of another's engine.
        options = declared(
            parameters.engine_dtype if parameters.engine_dtype is not None else first.dtype,
            first.enforce_eager if parameters.engine_enforce_eager is None else parameters.engine_enforce_eager,
            first.engine if parameters.engine_arguments is None else parameters.engine_arguments,
        )
        judged = fit_as(entry.served, place_for(cluster), options)
    except (ProfileError, PlanError) as error:
        yield f"{places['model_id']}: {error}"
        return
    if judged.ok is False:
        yield (
            f"{places['model_id']}: {parameters.model_id} does not fit {cluster.name}: {judged.detail}"
            f"{f'; {judged.remedy}' if judged.remedy else ''}; `{cluster.command} models` shows what does"
        )


def _of_the_load(resolved: Resolved) -> Iterator[str]:
    parameters, places = resolved.parameters, resolved.places
    if models.entry(str(parameters.model_id)).task in ("completion", "fill-mask"):
        yield (
            f"{places['model_id']}: {parameters.model_id} takes no chats, which the load is made of; give another "
            "model, or leave the tag benchmark out"
        )
    kind, where = parameters.llm_benchmark_arrivals, places["llm_benchmark_arrivals"]
    needed = {"closed": "llm_benchmark_concurrent_workers", "trace": "llm_benchmark_trace"}
    name = needed.get(kind, "llm_benchmark_target_qps_values")
    if not getattr(parameters, name):
        yield f"{where}: llm_benchmark_arrivals is {kind}, and {name} is empty ({places[name]}); give it a value"
        return
    try:
        listed = steps.steps(resolved, replayed=trace_file(resolved))
        for step in listed:
            step.check()
    except ExperimentError as error:
        yield f"{where}: {error}"


def trace_file(resolved: Resolved) -> Path | None:
    """The trace's file: from the folder of the file on that names it; None where there is none to replay."""
    named = resolved.parameters.llm_benchmark_trace
    if named is None or resolved.parameters.llm_benchmark_arrivals != "trace":
        return None
    place: Place = resolved.places["llm_benchmark_trace"]
    folder = Path(place.file).parent if place.line else Path()
    return folder / Path(named).expanduser()


def _load_seconds(resolved: Resolved) -> float | None:
    """How long the load lasts from its first measured request on, at most; None where its trace or a problem tells."""
    try:
        listed = steps.steps(resolved, replayed=trace_file(resolved))
    except ExperimentError:
        return None
    if not listed or not all(step.duration_seconds for step in listed):
        return None
    whole = sum(step.warm_up_seconds + step.duration_seconds for step in listed)
    return whole - listed[0].warm_up_seconds
