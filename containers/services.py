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
from deploys.ray_head.declared import HEAD, head_service
from deploys.ray_worker.declared import WORKER
from deploys.services import compose
from deploys.services.description import MIB, Limits, Service
from deploys.settings import Settings

# The command of a container that holds a network, and what it may take: sleep(1) and its init.
HOLD = ["sleep", "infinity"]
HOLD_LIMITS = Limits(memory_bytes=32 * MIB, processors=0.1, processes=16)
# The program that looks whether a service does its work.
LOOK = library.start("python3", HEALTHY)


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
            **compose.kept(image(declared)),
            **_own_network(member.settings),
            "command": list(HOLD),
            **compose.limits(HOLD_LIMITS, member),
            "healthcheck": compose.health(None, LOOK),
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


def _service(declared: Declared, member: Member, service: Service, together: bool) -> dict[str, Any]:
    here = member.settings
    configs = [{"source": source_of(here, file), "target": file.path} for file in configuration_files(here)]
    network = {"network_mode": f"service:{here.node}-network"} if together else _own_network(here)
    return {
        **compose.kept(image(declared)),
        **network,
        **compose.process(service),
        "secrets": [{"source": name, "target": path} for name, path in sorted(secret_files(here).items())],
        **({"configs": configs} if configs else {}),
        "volumes": [
            {"type": "volume", "source": f"{here.node}-state", "target": here.directories.state},
            {"type": "volume", "source": "models", "target": here.directories.models, "read_only": True},
        ],
        **compose.limits(service.limits, member),
        "healthcheck": compose.health(service.readiness, LOOK),
        "depends_on": _dependencies(declared, here, service, together),
    }


def _own_network(here: Settings) -> dict[str, Any]:
    return {"hostname": here.node, "networks": {"cluster": {"ipv4_address": here.network.address}}}


def _dependencies(declared: Declared, here: Settings, service: Service, together: bool) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if together:
        wanted[f"{here.node}-network"] = {"condition": "service_started"}
    if service.name != HEAD:
        wanted[compose_name(declared.control, head_service(declared.control))] = {"condition": "service_healthy"}
    if service.name == WORKER:
        wanted["weights"] = {"condition": "service_completed_successfully"}
    return wanted
