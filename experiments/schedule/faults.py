"""Faults that a serving cluster has to bear: how each is done and undone. Unix seconds.

`inject` returns the time just before the fault took effect. A fault without `repair` is mended by the cluster itself.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploys.faults import commands
from deploys.programs.private_names import (
    ENGINE_PROCESS,
    GCS_PROCESS,
    RAYLET_PROCESS,
    REPLICA_PROCESS,
    WORKER_PROCESS,
)
from experiments.lab_cluster import LabCluster, break_host
from experiments.load.client import clock

Inject = Callable[[LabCluster, str], Awaitable[float]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `hold_seconds` pass between it and its repair.

    `prepare` comes before both and is not timed. `last_resort` mends what the cluster did not mend in its time.
    """

    name: str
    says: str
    inject: Inject
    repair: Inject | None = None
    hold_seconds: float = 0.0
    prepare: Inject | None = None
    last_resort: Inject | None = None
    # Wrong answers until the replica is found out are in the nature of this fault; they are counted, not a miss.
    delivers_wrong: bool = False
    # Done to the control node; every engine has to serve on.
    spares_engines: bool = False
    # Takes more than processes: a host of its own for each node.
    needs_hosts: bool = False


def all_faults(hold_seconds: float) -> list[Fault]:
    """The faults in the order in which they are done, the gentler ones first."""
    return [
        Fault("membership", "node removed, then added again", _remove, _add, hold_seconds),
        Fault("kill-engine", "kill -9 of the engine core process", _signal(ENGINE_PROCESS, "SIGKILL")),
        Fault("kill-replica", "kill -9 of the replica process", _signal(REPLICA_PROCESS, "SIGKILL")),
        Fault("kill-worker", "kill -9 of the process that computes", _signal(WORKER_PROCESS, "SIGKILL")),
        Fault("kill-raylet", "kill -9 of the node's raylet", _signal(RAYLET_PROCESS, "SIGKILL")),
        Fault(
            "kill-control-store",
            "kill -9 of Ray's control store on the control node",
            _signal(GCS_PROCESS, "SIGKILL"),
            spares_engines=True,
        ),
        Fault(
            "wedge",
            "SIGSTOP of the engine core: API alive, engine silent",
            _signal(ENGINE_PROCESS, "SIGSTOP"),
            last_resort=_signal(ENGINE_PROCESS, "SIGCONT"),
        ),
        Fault("freeze", "host frozen, then thawed", _host("freeze"), _host("thaw"), hold_seconds, needs_hosts=True),
        Fault("cut", "host cut off, then joined", _host("cut"), _host("join"), hold_seconds, needs_hosts=True),
        Fault("crash", "power loss, then booted again", _host("crash"), _host("join"), hold_seconds, needs_hosts=True),
        Fault(
            "crash-control",
            "power loss of the control node, then booted again",
            _host("crash"),
            _host("join"),
            hold_seconds,
            spares_engines=True,
            needs_hosts=True,
        ),
        Fault(
            "garbage",
            "engine with shuffled weights, alive and wrong",
            _scramble,
            prepare=_prepare_garbage,
            last_resort=_restart_worker,
            delivers_wrong=True,
        ),
    ]


def _signal(process: str, number: str) -> Inject:
    async def inject(cluster: LabCluster, node: str) -> float:
        said = await cluster.host(node, commands.signal(process, number, node))
        return float(json.loads(said)["at"])

    return inject


def _host(kind: str) -> Inject:
    async def inject(_cluster: LabCluster, node: str) -> float:
        return await break_host(kind, node)

    return inject


async def _remove(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.cluster("nodes", "remove", node)
    return at


async def _add(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.cluster("nodes", "add", node)
    return at


async def _prepare_garbage(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.host(node, commands.make_garbage(cluster.control), seconds=180)
    return at


async def _scramble(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.host(cluster.control.node, commands.scramble(cluster.control, node), seconds=180)
    return at


async def _restart_worker(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.host(node, commands.restart_worker(cluster.hosts[node]), seconds=120)
    return at
