"""A plan of faults carried out on a cluster, one beside the other where it says so, each healed and read back.

Every fault is armed on its host before it is done: the host heals itself `margin_seconds` after the plan would have.
Times are unix seconds of the controller's clock; a host's own are turned into it by how long ago they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deploys.faults import catalogue, commands
from deploys.faults.commands import Command, Order
from deploys.faults.programs.fault_guard import identity
from deploys.settings import Settings
from experiments.errors import ExperimentError
from experiments.load.client import clock
from experiments.schedule import lab_faults, targets
from experiments.schedule.plan import PlacedFault, PlannedFault, place
from experiments.schedule.windows import FaultWindow, journal_line

Journal = Callable[[Mapping[str, Any]], object]
# Beyond the planned end; so long a host stays broken when nobody heals it.
MARGIN_SECONDS = 20.0
# A host that hangs or boots is asked again until then.
_RETURN_SECONDS = 180.0


class Hosts(Protocol):
    """A cluster as the schedule sees it: settings by node, and commands that run as a host's administrator."""

    hosts: dict[str, Settings]

    async def host(self, name: str, command: Command, *, seconds: float = 60) -> str:
        """What the command printed; ExperimentError when it fails."""


@dataclass(frozen=True)
class Seen:
    """When something was, by a host's reply: `at` in the controller's seconds."""

    took_effect: float | None = None
    healed: float | None = None
    by: str = ""
    detail: str = ""


def placed(cluster: Hosts, plan: Sequence[PlannedFault], *, seed: int = 0) -> tuple[PlacedFault, ...]:
    """The plan on this cluster's nodes; FaultPlanError before anything is done."""
    own = targets.own_nodes({name: entry.network.address for name, entry in cluster.hosts.items()})
    return place(plan, cluster.hosts, own=own, seed=seed)


async def run(
    cluster: Hosts,
    plan: Sequence[PlannedFault],
    journal: Journal,
    *,
    seed: int = 0,
    margin_seconds: float = MARGIN_SECONDS,
) -> list[FaultWindow]:
    """Carry the plan out; the windows in its order. What could not be done says so in its window.

    FaultPlanError before anything is done. When it is cancelled, what is there is healed first.
    """
    tasks = [
        asyncio.create_task(_one(cluster, one, journal, clock(), margin_seconds))
        for one in placed(cluster, plan, seed=seed)
    ]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        # Once: a second cancellation would end the healing, which is then the timers'.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
    return [task.result() for task in tasks]


def _failures(nodes: Sequence[str], said: Sequence[object]) -> list[str]:
    return [f"{node}: {one}" for node, one in zip(nodes, said, strict=True) if isinstance(one, BaseException)]


async def _one(
    cluster: Hosts, fault: PlacedFault, journal: Journal, start: float, margin_seconds: float
) -> FaultWindow:
    planned, kind = fault.planned, fault.planned.kind
    await asyncio.sleep(max(start + planned.begin_seconds - clock(), 0))
    window = FaultWindow(kind.name, kind.layer, list(fault.nodes), clock(), parameters=dict(planned.parameters))
    journal(journal_line("began", window.began, window))
    alone = kind.heals_itself or kind.by_cluster
    lasts = planned.hold_seconds + (0 if alone else margin_seconds)
    order = Order(kind.name, lasts, planned.parameters)
    try:
        done = await asyncio.gather(
            *(_inject(cluster, node, order, fault) for node in fault.nodes), return_exceptions=True
        )
        failed = _failures(fault.nodes, done)
        seen = [said.took_effect for said in done if isinstance(said, Seen) and said.took_effect is not None]
        means = sorted({said.detail for said in done if isinstance(said, Seen) and said.detail})
        window = replace(window, took_effect=min(seen, default=None), detail="; ".join([*means, *failed]))
        journal(journal_line("took effect" if seen else "failed", clock(), window))
        if seen and not kind.heals_itself:
            await asyncio.sleep(max((min(seen) + planned.hold_seconds) - clock(), 0))
    finally:
        window = await asyncio.shield(_healed(cluster, fault, window))
        journal(journal_line("healed" if window.is_over or kind.by_cluster else "failed", clock(), window))
    return window


async def _inject(cluster: Hosts, node: str, order: Order, fault: PlacedFault) -> Seen:
    if fault.planned.kind.means == "lab":
        await lab_faults.inject(order.name, node, order.seconds)
        return Seen(took_effect=clock(), detail="the lab's own fault")
    said = await _asked(cluster, node, commands.inject(cluster.hosts[node], order, identity()))
    made = said.get("made") or {}
    return Seen(took_effect=_unix(said, "took_effect"), detail=str(made.get("means", "")))


async def _healed(cluster: Hosts, fault: PlacedFault, window: FaultWindow) -> FaultWindow:
    """The window with what was read back of every node; `healed` stays None while one of them shows the fault."""
    kind, asked = fault.planned.kind, clock()
    heal = _returned if kind.heals_itself else _heal
    done = await asyncio.gather(*(heal(cluster, node, fault) for node in fault.nodes), return_exceptions=True)
    failed = _failures(fault.nodes, done)
    seen = [said for said in done if isinstance(said, Seen)]
    by = "timer" if any(one.by == "timer" for one in seen) else "controller" if seen else ""
    times = [one.healed for one in seen if one.healed is not None]
    window = replace(window, healed_asked=asked, detail="; ".join(part for part in [window.detail, *failed] if part))
    if kind.by_cluster:
        return replace(window, healed_by="cluster")
    if failed or len(times) < len(fault.nodes):
        return window
    return replace(
        window, healed=max(*times, window.began), healed_by="cluster" if kind.heals_itself and not times else by
    )


async def _heal(cluster: Hosts, node: str, fault: PlacedFault) -> Seen:
    name = fault.planned.name
    if fault.planned.kind.means == "lab":
        by_timer = await lab_faults.heal(name, node)
        return Seen(healed=clock(), by="timer" if by_timer else "controller")
    said = await _asked(cluster, node, commands.heal(cluster.hosts[node], name), seconds=150)
    if left := said.get("left"):
        raise ExperimentError(f"{name} is still there: {'; '.join(left)}")
    return Seen(healed=_unix(said, "healed") or clock(), by=str(said.get("by") or "controller"))


async def _returned(cluster: Hosts, node: str, fault: PlacedFault) -> Seen:
    """Wait until a host that hangs or boots answers, and nothing of the fault is there; its history says by whom."""
    name, deadline, why = fault.planned.name, clock() + _RETURN_SECONDS, "no answer"
    while clock() < deadline:
        try:
            said = await look(cluster, node, seconds=10)
        except ExperimentError as error:
            why = str(error)
        else:
            if not any(one["name"] == name for one in said["active"]) and name not in said["left"]:
                over = [one for one in said["history"] if one["name"] == name]
                # A boot has taken the history along.
                return Seen(healed=_unix({**over[-1], "now": said["now"]}, "healed") if over else clock(), by="timer")
            why = f"still there: {said['left'].get(name) or 'its record'}"
        await asyncio.sleep(0.5)
    raise ExperimentError(f"{name}: not over {_RETURN_SECONDS:g} s after its time: {why}")


async def look(cluster: Hosts, node: str, *, seconds: float = 60) -> dict[str, Any]:
    """What a host shows of every fault: now, active, left, history (times in seconds since its boot)."""
    return await _asked(cluster, node, commands.look(cluster.hosts[node], identity()), seconds=seconds)


async def left(cluster: Hosts, nodes: Sequence[str]) -> dict[str, list[str]]:
    """Node -> what is there of any fault, as the hosts show it, or that a node does not answer. Empty: all clean."""
    found: dict[str, list[str]] = {}
    for node, said in zip(
        nodes, await asyncio.gather(*(look(cluster, node) for node in nodes), return_exceptions=True), strict=True
    ):
        if isinstance(said, BaseException):
            found[node] = [str(said)]
        elif parts := [f"{name}: {one}" for name, ones in said["left"].items() for one in ones]:
            found[node] = parts
        elif said["active"]:
            found[node] = [f"{one['name']}: a record of it" for one in said["active"]]
    return found


async def read_back(cluster: Hosts, windows: Sequence[FaultWindow]) -> list[FaultWindow]:
    """Windows of a run whose controller died, completed from what the hosts remember: healed, when and by whom."""
    return [window if window.is_over else await _completed(cluster, window) for window in windows]


async def _completed(cluster: Hosts, window: FaultWindow) -> FaultWindow:
    if catalogue.kind_of(window.name).means == "lab":
        running = [await lab_faults.is_running(node) for node in window.nodes]
        return replace(window, healed=clock(), healed_by="timer") if all(running) else window
    healed, healers, open_nodes = [], set(), []
    for node in window.nodes:
        said = await look(cluster, node)
        over = [
            one
            for one in said["history"]
            if one["name"] == window.name and (_unix({**one, "now": said["now"]}, "healed") or 0) >= window.began
        ]
        if over and window.name not in said["left"]:
            healed.append(_unix({**over[-1], "now": said["now"]}, "healed") or clock())
            healers.add(str(over[-1]["by"]))
        else:
            open_nodes.append(node)
    if open_nodes or not healed:
        detail = f"{window.detail}; not read back from {', '.join(open_nodes)}".lstrip("; ")
        return replace(window, detail=detail)
    return replace(window, healed=max(healed), healed_by="timer" if "timer" in healers else "controller")


async def _asked(cluster: Hosts, node: str, command: Command, *, seconds: float = 60) -> dict[str, Any]:
    said: Any = None
    output = await cluster.host(node, command, seconds=seconds)
    with contextlib.suppress(ValueError, IndexError):
        said = json.loads(output.strip().splitlines()[-1])
    if not isinstance(said, dict):
        raise ExperimentError(f"{node}: the program of the faults said {output[-200:]!r}, which is no JSON")
    # How long ago is the host's to say, when is ours.
    return {**said, "heard": clock()}


def _unix(said: Mapping[str, Any], key: str) -> float | None:
    """A host's seconds since boot as the controller's unix seconds."""
    stamp = said.get(key)
    return None if stamp is None else float(said.get("heard", clock())) - (float(said["now"]) - float(stamp))
