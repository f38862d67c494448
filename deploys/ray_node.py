"""How Ray starts on a node, head or worker: the arguments that both have, and the programs around it. Pure."""

from __future__ import annotations

import json

from deploys import hosts, runtime_lock
from deploys.compute_base.declared import KEEP_TOGETHER, PATIENT_RAY
from deploys.library import start
from deploys.services.description import Limits, Readiness
from deploys.settings import Settings

# A raylet is known to the head within two seconds; on an emulated processor within a minute.
RAYLET_SECONDS = 180


def kept_together(settings: Settings) -> tuple[str, ...]:
    """Where stopping a service may leave processes of it: a program around Ray's that leaves no process behind."""
    if hosts.of(settings).ends_every_process:
        return ()
    return start(f"{runtime_lock.directory(settings)}/bin/python", KEEP_TOGETHER)


def ray(settings: Settings) -> tuple[str, ...]:
    """Ray's command that waits longer for its raylet; see programs/patient_ray.py."""
    python = f"{runtime_lock.directory(settings)}/bin/python"
    return (*start(python, PATIENT_RAY), str(RAYLET_SECONDS))


def node_arguments(settings: Settings) -> tuple[str, ...]:
    ray, ports = settings.ray, settings.ray.ports
    resources = {"engine": ray.engine_slots}
    # Engines ask for their model's own resource, so that each model stays on its nodes.
    resources |= {settings.mine.resource: ray.engine_slots} if settings.mine else {}
    return (
        f"--node-ip-address={settings.network.address}",
        f"--node-name={settings.node}",
        f"--temp-dir={settings.directories.ray}",
        f"--num-cpus={ray.cpus}",
        f"--num-gpus={ray.gpus}",
        f"--resources={json.dumps(resources if ray.engine_slots else {})}",
        f"--object-store-memory={ray.object_store_bytes}",
        f"--object-manager-port={ports.object_manager}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--metrics-export-port={ports.metrics}",
        f"--min-worker-port={ports.worker_first}",
        f"--max-worker-port={ports.worker_last}",
        "--include-log-monitor=false",  # it copies worker logs to drivers; nobody drives here
        "--disable-usage-stats",
    )


def node_limits(settings: Settings) -> Limits:
    """All of the node; the shared memory that a host reserves for Ray's object store as well."""
    return Limits(None, None, processes=4096, shared_memory_bytes=shared_memory_bytes(settings))


def shared_memory_bytes(settings: Settings) -> int:
    """Twice the object store: an engine's processes use /dev/shm too."""
    return 2 * settings.ray.object_store_bytes


def node_ports(settings: Settings) -> dict[int, str]:
    """Ports of any Ray node that have to be free before it starts."""
    ports = settings.ray.ports
    return {
        ports.node_manager_first: "Ray's node manager",
        ports.object_manager: "Ray's object manager",
        ports.runtime_env_agent: "Ray's runtime environment agent",
        ports.agent_grpc: "Ray's agent",
        ports.agent_http: "the HTTP side of Ray's agent",
    }


def node_readiness(settings: Settings, start_seconds: int) -> Readiness:
    """Ray lists this node as alive, under its own name and address."""
    dashboard = f"http://{settings.head_address}:{settings.ray.ports.dashboard}"
    return Readiness("node", (dashboard, settings.node, settings.network.address), start_seconds)
