"""What ray_worker declares: the service of a node that joins the Ray head. Pure."""

from __future__ import annotations

from deploys import library, runtime_lock
from deploys.compute_base.declared import REJOIN
from deploys.deadlines import nodes_seconds
from deploys.declaration import Role
from deploys.environment import engine_socket, ray_node
from deploys.ray_node import kept_together, node_arguments, node_limits, node_ports, node_readiness, ray
from deploys.services.description import Service
from deploys.settings import Settings

WORKER = "cluster-ray-worker"
ENGINE_PROCESS = "deploys.vllm.programs.engine_process"
WITH_ENGINE_READY = "deploys.vllm.programs.with_engine_ready"


def worker_service(settings: Settings) -> Service:
    """A Ray worker node: it offers its CPUs, GPUs and, where an engine is declared, the engine's slot."""
    return Service(
        name=WORKER,
        description=f"Ray worker {settings.node} of cluster {settings.cluster}",
        command=(
            *kept_together(settings),
            *_with_engine_ready(settings),
            *_on_another_port(settings),
            *ray(settings),
            "start",
            "--block",
            f"--address={settings.head_address}:{settings.ray.ports.gcs}",
            *node_arguments(settings),
        ),
        environment=ray_node(settings),
        inputs=_engine_ready_inputs(settings),
        ports=node_ports(settings),
        limits=node_limits(settings),
        readiness=node_readiness(settings, nodes_seconds(len(settings.network.peers))),
    )


def _on_another_port(settings: Settings) -> tuple[str, ...]:
    """What gives a worker that comes back a port without a past; see programs/rejoin.py."""
    ports = settings.ray.ports
    return (
        *library.start(f"{runtime_lock.directory(settings)}/bin/python", REJOIN),
        str(ports.node_manager_first),
        str(ports.node_manager_last),
        f"{settings.directories.ray}/{settings.node}.node-manager-port",
    )


def _with_engine_ready(settings: Settings) -> tuple[str, ...]:
    """What loads vLLM for the node's engines while the node joins; see programs/with_engine_ready.py."""
    if not (settings.mine and settings.mine.loads_vllm):
        return ()
    return (
        *library.start(f"{runtime_lock.directory(settings)}/bin/python", WITH_ENGINE_READY),
        engine_socket(settings),
    )


def _engine_ready_inputs(settings: Settings) -> tuple[str, ...]:
    """Digests of what is loaded once for all engines that begin after it."""
    if not _with_engine_ready(settings):
        return ()
    return tuple(file.sha256 for file in library.programs(settings, WITH_ENGINE_READY, ENGINE_PROCESS))


def services(settings: Settings) -> tuple[Service, ...]:
    """The worker."""
    return (worker_service(settings),)


ROLE = Role(services=services)
