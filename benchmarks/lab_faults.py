"""Faults that a serving lab has to bear: how each is done and undone. Unix seconds.

`inject` returns the time just before the fault took effect. A fault without `repair` is mended by the cluster itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.common import PROJECT
from benchmarks.lab_cluster import LabCluster, break_host
from benchmarks.load import clock
from deploys import runtime_lock
from deploys.environment import ray_client

# How the processes call themselves: Serve's replica, in which the API of the engine is served, and vLLM's engine core.
REPLICA_PROCESS = "ray::ServeReplica"
ENGINE_PROCESS = "VLLM::EngineCore"
PLACE = "/var/tmp"  # noqa: S108 (on a lab host, which is thrown away)
GARBAGE = f"{PLACE}/garbage"

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


def all_faults(hold_seconds: float) -> list[Fault]:
    """The faults in the order in which they are done, the gentler ones first."""
    return [
        Fault("membership", "node removed, then added again", _remove, _add, hold_seconds),
        Fault("kill-engine", "kill -9 of the engine core process", _signal(ENGINE_PROCESS, "SIGKILL")),
        Fault("kill-replica", "kill -9 of the replica process", _signal(REPLICA_PROCESS, "SIGKILL")),
        Fault(
            "wedge",
            "SIGSTOP of the engine core: API alive, engine silent",
            _signal(ENGINE_PROCESS, "SIGSTOP"),
            last_resort=_signal(ENGINE_PROCESS, "SIGCONT"),
        ),
        Fault("freeze", "host frozen, then thawed", _host("freeze"), _host("thaw"), hold_seconds),
        Fault("cut", "host cut off, then joined", _host("cut"), _host("join"), hold_seconds),
        Fault("crash", "power loss, then booted again", _host("crash"), _host("join"), hold_seconds),
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
        return await cluster.signal(node, process, number)

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
    python = f"{runtime_lock.directory(cluster.control)}/bin/python"
    await _send(cluster, node, "garbage_weights.py")
    await _send(cluster, cluster.control.node, "scramble.py")
    await cluster.host(
        node,
        f"nice -n 15 {python} {PLACE}/garbage_weights.py {cluster.control.model.directory} {GARBAGE}",
        seconds=180,
    )
    return at


async def _scramble(cluster: LabCluster, node: str) -> float:
    settings = cluster.control
    variables = " ".join(f"{name}={value}" for name, value in ray_client(settings).items())
    at = clock()
    await cluster.host(
        settings.node,
        f"runuser -u {settings.system.service_user} -- env {variables} {runtime_lock.directory(settings)}/bin/python "
        f"{PLACE}/scramble.py {settings.head_address}:{settings.ray.ports.gcs} {node} {GARBAGE}",
        seconds=180,
    )
    return at


async def _restart_worker(cluster: LabCluster, node: str) -> float:
    at = clock()
    await cluster.host(node, "systemctl restart cluster-ray-worker", seconds=120)
    return at


async def _send(cluster: LabCluster, host: str, name: str) -> None:
    text = (PROJECT / "tests" / "integration" / name).read_text()
    await cluster.host(host, f"cat > {PLACE}/{name}", stdin=text)
