"""Faults one after the other under a load that somebody else keeps up, each on another node, each until it is over.

A recovery that takes too long is written down, and the next fault is done on a node that serves. Unix seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import ExperimentError
from experiments.lab_cluster import LabCluster
from experiments.load.client import clock
from experiments.report.progress import show
from experiments.schedule.faults import Fault
from experiments.telemetry import fault_times

BEFORE_SECONDS = 10.0
AFTER_SECONDS = 10.0
LEAST_WINDOW_SECONDS = 30.0
STEADY_SECONDS = 10.0
FRESH_SECONDS = 6.0


@dataclass(frozen=True)
class Limits:
    """How long a recovery may take, and after how many minutes no fault is begun any more."""

    recover_seconds: float
    most_minutes: float


async def one_after_the_other(
    cluster: LabCluster, chosen: Sequence[Fault], limits: Limits, result: dict[str, Any]
) -> None:
    """Every fault that there is time for, each on another node; what was done and what went wrong into the result."""
    began = time.monotonic()
    victims = list(cluster.declared)
    for place, fault in enumerate(chosen):
        if time.monotonic() - began > 60 * limits.most_minutes:
            result["misses"].append(f"{fault.name}: not done, {limits.most_minutes:g} minutes are over")
            continue
        if not await until_all_serve(cluster, LEAST_WINDOW_SECONDS):
            result["misses"].append(f"{fault.name}: begun while {who_does_not(cluster)} did not serve")
        order = victims[place % len(victims) :] + victims[: place % len(victims)]
        serving = [node for node in order if _since(cluster, [node]) is not None]
        if not serving:
            result["misses"].append(f"{fault.name}: not done, no engine serves")
            continue
        node = cluster.control.node if fault.spares_engines else serving[0]
        entry = await _one(fault, node, cluster, limits, result["misses"])
        result["faults"].append(entry)


async def _one(fault: Fault, node: str, cluster: LabCluster, limits: Limits, misses: list[str]) -> dict[str, Any]:
    """One fault on one node, until the cluster recovered or its time is over; what went wrong is a miss."""
    entry: dict[str, Any] = {"name": fault.name, "says": fault.says, "node": node, "recovered": False}
    entry["delivers_wrong"] = fault.delivers_wrong
    entry["spares_engines"] = fault.spares_engines
    marks = entry["marks"] = {"begin": clock()}
    where = f"{fault.name} on {node}"
    try:
        if fault.prepare:
            await fault.prepare(cluster, node)
        await asyncio.sleep(BEFORE_SECONDS)
        show("fault", f"{fault.name}: {fault.says}, {node}")
        marks["fault"] = clock()
        marks["fault"] = await fault.inject(cluster, node)
        entry["inject_seconds"] = round(clock() - marks["fault"], 3)
        await asyncio.sleep(fault.hold_seconds)
    except (ExperimentError, ValueError, OSError) as error:
        misses.append(f"{where}: {error}")
    if fault.repair and "fault" in marks:
        try:
            marks["repair"] = await fault.repair(cluster, node)
            entry["repair_seconds"] = round(clock() - marks["repair"], 3)
        except (ExperimentError, ValueError, OSError) as error:
            misses.append(f"{where}, repair: {error}")
    if "inject_seconds" in entry and fault.spares_engines:
        entry["recovered"] = await _until_verified(cluster, marks, limits.recover_seconds)
        if not entry["recovered"]:
            misses.append(f"{where}: `cluster verify` did not hold again within {limits.recover_seconds:g} s")
        for one in cluster.declared:
            if fault_times.time_out_of_service(_recent(cluster, marks["fault"]), one, marks["fault"]):
                misses.append(f"{where}: the engine on {one} did not serve on")
        await asyncio.sleep(AFTER_SECONDS)
    elif "inject_seconds" in entry:
        entry["recovered"] = await _until_recovered(cluster, node, marks, limits.recover_seconds)
        if not entry["recovered"]:
            seen = fault_times.time_out_of_service(_recent(cluster, marks["fault"]), node, marks["fault"])
            reason = f"{who_does_not(cluster)} did not serve" if seen else f"{node} was never seen out of service"
            misses.append(f"{where}: no recovery within {limits.recover_seconds:g} s: {reason}")
            if fault.last_resort:
                try:
                    await fault.last_resort(cluster, node)
                except (ExperimentError, ValueError, OSError) as error:
                    misses.append(f"{where}, last resort: {error}")
        await asyncio.sleep(AFTER_SECONDS)
    marks["end"] = clock()
    show("fault", f"{fault.name}: {'recovered' if entry['recovered'] else 'not recovered'}")
    return entry


async def _until_recovered(cluster: LabCluster, node: str, marks: dict[str, float], seconds: float) -> bool:
    """Until the node was out of service and all declared engines have served steadily since; False after `seconds`."""
    start = max(marks.values())
    while clock() - start < seconds:
        out = fault_times.time_out_of_service(_recent(cluster, marks["fault"]), node, marks["fault"])
        since = _since(cluster, cluster.declared)
        steady = since is not None and clock() - since >= STEADY_SECONDS
        if out and steady and clock() - marks["fault"] >= LEAST_WINDOW_SECONDS:
            return True
        await asyncio.sleep(1)
    return False


async def _until_verified(cluster: LabCluster, marks: dict[str, float], seconds: float) -> bool:
    """Until what runs is what was declared, to the control node as well; False after `seconds`."""
    while clock() - max(marks.values()) < seconds:
        try:
            await cluster.cluster("verify", "--json", seconds=seconds)
        except ExperimentError:
            await asyncio.sleep(1)
        else:
            marks["verified"] = clock()
            return True
    return False


async def until_all_serve(cluster: LabCluster, seconds: float) -> bool:
    """Whether every declared engine is seen to serve before the time is over."""
    deadline = clock() + seconds
    while _since(cluster, cluster.declared) is None:
        if clock() > deadline:
            return False
        await asyncio.sleep(0.5)
    return True


def _recent(cluster: LabCluster, since: float) -> list[fault_times.Look]:
    return [look for look in cluster.looks if look.at >= since]


def _since(cluster: LabCluster, nodes: Collection[str]) -> float | None:
    """Since when, within the last minute, these nodes serve."""
    now = clock()
    return fault_times.all_serve_since(_recent(cluster, now - 60), nodes, now, FRESH_SECONDS)


def who_does_not(cluster: LabCluster) -> str:
    """Nodes that are not seen to serve, for a person."""
    return ", ".join(node for node in cluster.declared if _since(cluster, [node]) is None) or "nobody"
