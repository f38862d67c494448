"""Services as entries of a compose file (https://compose-spec.io), by what is known of a service alone. Pure.

Networks, volumes and what waits for what are the whole file's, in containers/.
"""

from __future__ import annotations

from typing import Any, Protocol

from deploys.services.description import MIB, OPEN_FILES, ROOT, STOP_SECONDS, Limits, Readiness, Service

CLOSED = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "read_only": True}
LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def process(service: Service) -> dict[str, Any]:
    """What runs, with which environment, and as whom."""
    return {
        "command": [escaped(part) for part in service.command],
        "environment": {key: escaped(value) for key, value in service.whole_environment.items()},
        **({"user": "0:0"} if service.user == ROOT else {}),
    }


def kept(image: str) -> dict[str, Any]:
    """What every container has that runs for as long as the cluster does."""
    return {
        "image": image,
        "pull_policy": "never",  # it is built here, and in no registry
        "restart": "unless-stopped",
        "stop_grace_period": f"{STOP_SECONDS + 5}s",
        **CLOSED,
        "tmpfs": ["/tmp:mode=1777,size=256m"],  # noqa: S108 (the container's own)
        "ulimits": {"nofile": {"soft": OPEN_FILES, "hard": OPEN_FILES}},
        "logging": LOGGING,
    }


class Node(Protocol):
    """How much of a machine a node may take."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def processors(self) -> int: ...


def limits(wanted: Limits, node: Node) -> dict[str, Any]:
    """`deploy`, and `shm_size` where it needs one; what it may take at most."""
    memory = node.memory_bytes if wanted.memory_bytes is None else wanted.memory_bytes
    processors = node.processors if wanted.processors is None else wanted.processors
    most = {"memory": f"{memory // MIB}m", "cpus": str(processors), "pids": wanted.processes}
    shared = {"shm_size": f"{-(-wanted.shared_memory_bytes // MIB)}m"} if wanted.shared_memory_bytes else {}
    return {"deploy": {"resources": {"limits": most}}, **shared}


def health(readiness: Readiness | None, look: tuple[str, ...]) -> dict[str, Any]:
    """While it starts a service is looked at often, and a look that fails does not count."""
    if readiness is None:
        return {"disable": True}
    return {
        "test": ["CMD", *look, readiness.look, *readiness.arguments],
        "interval": "15s",
        "timeout": "6s",
        "retries": 3,
        "start_period": f"{readiness.start_seconds}s",
        "start_interval": "3s",
    }


def escaped(text: str) -> str:
    """A dollar sign that stays one: compose replaces variables in every value."""
    return text.replace("$", "$$")
