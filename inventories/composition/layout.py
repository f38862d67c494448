"""Which ports and directories a node has, by who runs its services. Pure.

A host, or a container, has them to itself. Nodes that are processes in one account share a machine: each gets a block
of the ports and a directory of its own, and all share runtime, weights and programs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Protocol

from hardware.model import ProfileError
from inventories.composition.operator import cache_directory, cluster_directory

ServiceManager = Literal["systemd", "supervisor", "compose"]

# Pinned, below the range that Linux hands out to clients (32768 and up), so that a firewall can name them.
RAY_PORTS = {
    "gcs": 6379,
    "node_manager_first": 6500,
    "node_manager_last": 6599,
    "object_manager": 6381,
    "runtime_env_agent": 6382,
    "agent_grpc": 6383,
    "metrics": 6384,  # nothing listens: Ray is told of one all the same, and would wait for its agent to choose it
    "agent_http": 6385,
    "dashboard": 8265,
    "client": 10001,
    "worker_first": 20000,
    "worker_last": 20199,
    "engine_first": 8100,
    "engine_last": 8101,
    "watch": 8090,
}
DEPOT_PORT = 8730
# Of what is asked for by Site(telemetry=...); the numbers that people know these programs by.
TELEMETRY_PORTS = {"prometheus_port": 9090, "node_exporter_port": 9100, "traces_port": 4318}

# unix(7): a socket's name has 108 bytes with its end. The longest that Ray 2.60 makes below its directory.
SOCKET_PATH_CHARACTERS = 107
_LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"

# Only the control node listens on these, so nodes that share a machine need no block of them.
_ONCE = ("gcs", "dashboard", "client", "watch")
_BLOCK = {"worker": 200, "node": 100, "engine": 10}


def port_ranges(ports: Mapping[str, int]) -> list[tuple[int, int]]:
    """First and last of each range among a node's `ports`; a single port is both."""
    return [
        (number, ports.get(f"{name.removesuffix('_first')}_last", number))
        for name, number in ports.items()
        if not name.endswith("_last")
    ]


class Places(Protocol):
    """The ports and directories of a cluster's nodes."""

    def ports(self, index: int) -> dict[str, int]:
        """Ports of Ray and its engines on the node with this place in the profile; the control node's is 0."""

    def directories(self, cluster: str, node: str) -> dict[str, str]:
        """Absolute paths on a node."""


class OwnHost:
    """Each node has the same, on a file system and a network of its own."""

    def ports(self, index: int) -> dict[str, int]:
        """See Places."""
        return dict(RAY_PORTS)

    def directories(self, cluster: str, node: str) -> dict[str, str]:
        """See Places."""
        return {
            "runtime": "/opt/cluster/runtime",
            "package_cache": "/opt/cluster/uv-cache",
            "models": "/var/lib/cluster/models",
            "library": "/usr/local/lib/cluster",
            "configuration": "/etc/cluster",
            "state": "/var/lib/cluster",
            "ray": "/var/lib/cluster/ray",
        }


class OneAccount:
    """The nodes are processes of one user on the tool's own machine."""

    def ports(self, index: int) -> dict[str, int]:
        """See Places."""
        return {
            port: number if port in _ONCE else number + _BLOCK.get(port.split("_")[0], 10) * index
            for port, number in RAY_PORTS.items()
        }

    def directories(self, cluster: str, node: str) -> dict[str, str]:
        """See Places."""
        state = cluster_directory(cluster) / "nodes" / node
        return {
            "runtime": str(cache_directory() / "runtime"),
            "package_cache": str(cache_directory() / "uv"),
            "models": str(cache_directory() / "models"),
            "library": str(cluster_directory(cluster) / "lib"),
            "configuration": str(state / "etc"),
            "state": str(state),
            "ray": _short_directory(cluster, node),
        }


def _short_directory(cluster: str, node: str) -> str:
    """Ray's directory of a node that shares its machine; ProfileError where its sockets would have too long names.

    Of its own: Ray nodes that share one pick the same names for their sockets when they start together.
    """
    directory = f"/tmp/cluster-{os.getuid()}/{cluster}.{node}"  # noqa: S108 (made with mode 0700 by compute_base)
    if (over := len(f"{directory}{_LONGEST_SOCKET}") - SOCKET_PATH_CHARACTERS) > 0:
        raise ProfileError(
            f"inventory {cluster}: Ray's sockets below {directory} would have names that are {over} characters too "
            f"long; give the inventory or {node} a shorter name"
        )
    return directory


PLACES: Mapping[ServiceManager, Places] = {"systemd": OwnHost(), "supervisor": OneAccount(), "compose": OwnHost()}
