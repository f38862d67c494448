"""What the hosts saw while the load ran: observed meanwhile, and collected into the bundle afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from experiments import telemetry
from experiments.bundle import journal, layout, writing
from experiments.runs.errors import RunError
from experiments.runs.measuring import Around, Measuring, measure
from experiments.runs.order import BENCHMARK, CHAOS, TELEMETRY, Order
from experiments.runs.sitting import Sitting
from experiments.telemetry import grafana
from operate.clusters import ClusterInventory


def observing(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> Around | None:
    """Observers on every host around a load; None where no telemetry is asked for."""
    told = order.resolved.parameters
    if TELEMETRY not in order.tags or not told.telemetry_enabled:
        return None

    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[None]:
        sitting.progress.phase(f"looking at {len(cluster.hosts)} hosts meanwhile")
        seen: telemetry.Live | None = None
        try:
            async with telemetry.live(cluster, bundle, period_seconds=told.telemetry_interval_seconds) as seen:
                yield
        finally:
            for entry in seen.entries() if seen is not None else ():
                sitting.journal.add(**entry)

    return around


def collect(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> None:
    """Metrics, logs, traces and flows of the time in which the run measured; dashboards that read the same metrics.

    RunError where the run measured nothing: there is no time to collect of.
    """
    if not order.resolved.parameters.telemetry_enabled:
        sitting.note("telemetry_enabled is false: nothing is collected")
        return
    if {BENCHMARK, CHAOS} & order.tags:
        began, ended = measured_time(bundle)
    else:
        began, ended = _observed(order, cluster, bundle, sitting)
    for entry in asyncio.run(telemetry.collect(cluster, bundle, began, ended)).entries():
        sitting.journal.add(**entry)
    writing.write_json(bundle, f"{layout.GRAFANA}/cluster.json", grafana.dashboard(cluster.name))


def _observed(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> tuple[float, float]:
    """With telemetry alone asked for, the hosts are looked at for as long as one load step would last."""
    told = order.resolved.parameters
    seconds = told.llm_benchmark_warm_up + told.llm_benchmark_duration

    async def wait(state: Measuring) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(state.stop.wait(), seconds)

    around = observing(order, cluster, bundle, sitting)
    done = measure(None, [], None, sitting.journal, sitting.progress, beside=[wait], around=around)
    return done.began, done.ended


def measured_time(bundle: Path) -> tuple[float, float]:
    """When the run began and ended to measure, in unix seconds, over all of its sittings."""
    times = [
        entry.at
        for entry in journal.read(bundle)
        if (entry.kind == "phase" and entry.data.get("phase") in (BENCHMARK, CHAOS))
        or (entry.kind == "stopped" and entry.data.get("phase") in (BENCHMARK, CHAOS))
    ]
    if not times:
        raise RunError(
            f"{bundle.name}: nothing was measured in it, so there is no time to collect telemetry of; add the tag "
            "benchmark, or go on with a stopped run with --resume"
        )
    return min(times), max(times)
