"""A node's declared services as services of a compose file: same command, environment, files and secrets as on a host.

Pure. Where a node has more than one service, a container that only sleeps holds the node's network, and the services
share it: each can end and start again, and none takes the others' network with it.
"""

from __future__ import annotations

from typing import Any

from containers.declared import Declared, Member
from containers.files import HEALTHY, configuration_files, source_of
from deploys import library, roles
from deploys.compute_base.declared import secret_files
from deploys.operations.ready import ENGINES_SECONDS, HEAD_SECONDS, NODES_SECONDS, SECONDS_PER_NODE
from deploys.ray_head.declared import HEAD, head_service
from deploys.ray_worker.declared import WORKER
from deploys.services import DIGEST_VARIABLE, OPEN_FILES, Service
from deploys.settings import Settings
from deploys.vllm.declared import SERVE

MIB = 1024**2
GATEWAY = "cluster-gateway"
# What is small beside Ray and an engine: Python programs of 15 to 60 MB and HAProxy.
SIDE_MEMORY = "256m"
# The command of a container that holds a network, and its memory: sleep(1) and its init.
HOLD = ["sleep", "infinity"]
HOLD_MEMORY = "32m"
CLOSED = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "read_only": True}
LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def image(declared: Declared, target: str = "node") -> str:
    """Tag of the image: the runtime's name has the hash of its lock in it."""
    return f"cluster-{target}:{declared.runtime.name}"


def services_of(declared: Declared, member: Member) -> dict[str, dict[str, Any]]:
    """Every compose service of one node, by name, in the order in which they start."""
    services = roles.services(member.settings)
    found: dict[str, dict[str, Any]] = {}
    together = len(services) > 1
    if together:
        found[f"{member.settings.node}-network"] = {
            **_common(declared),
            **_own_network(member.settings),
            "command": list(HOLD),
            "deploy": limits(HOLD_MEMORY, "0.1", 16),
            "healthcheck": {"disable": True},
        }
    for service in services:
        found[compose_name(member.settings, service)] = _service(declared, member, service, together)
    return found


def compose_name(settings: Settings, service: Service) -> str:
    """A node's Ray has the node's name; what else the control node runs has its own, elsewhere with the node's."""
    if service.name in (HEAD, WORKER):
        return settings.node
    name = service.name.removeprefix("cluster-")
    return name if settings.is_control else f"{settings.node}-{name}"


def limits(memory: str, processors: str, processes: int) -> dict[str, Any]:
    """`deploy` of a service: what it may take at most."""
    return {"resources": {"limits": {"memory": memory, "cpus": processors, "pids": processes}}}


def escaped(text: str) -> str:
    """A dollar sign that stays one: compose replaces variables in every value."""
    return text.replace("$", "$$")


def check(declared: Declared, *arguments: str, start_seconds: int) -> dict[str, Any]:
    """A health check by healthy.py. While it starts a service is asked often, and its failures do not count."""
    return {
        "test": ["CMD", *library.start("python3", HEALTHY), *arguments],
        "interval": "15s",
        "timeout": "6s",
        "retries": 3,
        "start_period": f"{start_seconds}s",
        "start_interval": "3s",
    }


def _service(declared: Declared, member: Member, service: Service, together: bool) -> dict[str, Any]:
    here = member.settings
    is_ray = service.name in (HEAD, WORKER)
    configs = [{"source": source_of(here, file), "target": file.path} for file in configuration_files(here)]
    environment = {**service.environment, DIGEST_VARIABLE: service.digest}
    network = {"network_mode": f"service:{here.node}-network"} if together else _own_network(here)
    return {
        **_common(declared),
        **network,
        "command": [escaped(part) for part in service.command],
        "environment": {key: escaped(value) for key, value in sorted(environment.items())},
        "secrets": [{"source": name, "target": path} for name, path in sorted(secret_files(here).items())],
        **({"configs": configs} if configs else {}),
        "volumes": [
            {"type": "volume", "source": f"{here.node}-state", "target": here.directories.state},
            {"type": "volume", "source": "models", "target": here.directories.models, "read_only": True},
        ],
        "deploy": limits(f"{member.memory_bytes // MIB}m", str(member.processors), 4096)
        if is_ray
        else limits(SIDE_MEMORY, "0.5", 256),
        # The host's own reserve is twice the object store as well (compute_base): an engine's processes use it too.
        **({"shm_size": f"{-(-2 * here.ray.object_store_bytes // MIB)}m"} if is_ray else {}),
        "healthcheck": _health(declared, here, service),
        "depends_on": _dependencies(declared, here, service, together),
        **({"user": "0:0"} if service.as_root else {}),
    }


def _common(declared: Declared) -> dict[str, Any]:
    return {
        "image": image(declared),
        "pull_policy": "never",  # it is built here, and in no registry
        "restart": "unless-stopped",
        "stop_grace_period": "25s",
        **CLOSED,
        "tmpfs": ["/tmp:mode=1777,size=256m"],  # noqa: S108 (the container's own)
        "ulimits": {"nofile": {"soft": OPEN_FILES, "hard": OPEN_FILES}},
        "logging": LOGGING,
    }


def _own_network(here: Settings) -> dict[str, Any]:
    return {"hostname": here.node, "networks": {"cluster": {"ipv4_address": here.network.address}}}


def _health(declared: Declared, here: Settings, service: Service) -> dict[str, Any]:
    """By the service's part in the cluster; one without a check of its own is watched by its engine, while it runs."""
    dashboard = f"http://{here.head_address}:{here.ray.ports.dashboard}"
    if service.name in (HEAD, WORKER):
        seconds = HEAD_SECONDS if here.is_control else NODES_SECONDS + SECONDS_PER_NODE * len(declared.members)
        return check(declared, "node", dashboard, here.node, here.network.address, start_seconds=seconds)
    if service.name == SERVE:
        engines = str(here.serving.replicas)
        return check(declared, "application", dashboard, engines, start_seconds=ENGINES_SECONDS)
    if service.name == GATEWAY:
        return check(declared, "http", f"{here.endpoint}/models", start_seconds=ENGINES_SECONDS)
    return {"disable": True}


def _dependencies(declared: Declared, here: Settings, service: Service, together: bool) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if together:
        wanted[f"{here.node}-network"] = {"condition": "service_started"}
    if service.name != HEAD:
        wanted[compose_name(declared.control, head_service(declared.control))] = {"condition": "service_healthy"}
    if service.name == WORKER:
        wanted["weights"] = {"condition": "service_completed_successfully"}
    return wanted
