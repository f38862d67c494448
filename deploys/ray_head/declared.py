"""What ray_head declares: the service of the Ray head. Pure."""

from __future__ import annotations

from deploys import runtime_lock
from deploys.deadlines import HEAD_SECONDS
from deploys.declaration import Role
from deploys.environment import ray_node
from deploys.ray_node import kept_together, node_arguments, node_limits, node_ports, node_readiness, ray
from deploys.services.description import Service
from deploys.settings import Settings

HEAD = "cluster-ray-head"
# The dashboard's own metrics would be served on every address and to everybody, and no option of Ray's says otherwise.
# No port has this number: the dashboard says so in its log, and goes on.
NO_DASHBOARD_METRICS = {"DASHBOARD_METRIC_PORT": "-1"}


def head_service(settings: Settings) -> Service:
    """The Ray head: 0 CPUs and 0 GPUs, so nothing that loads a model can be placed on it."""
    ports = settings.ray.ports
    return Service(
        name=HEAD,
        description=f"Ray head of cluster {settings.cluster}",
        command=(
            *kept_together(settings),
            *ray(settings),
            "start",
            "--head",
            "--block",
            f"--port={ports.gcs}",
            "--include-dashboard=true",
            f"--dashboard-host={settings.network.address}",
            f"--dashboard-port={ports.dashboard}",
            f"--ray-client-server-port={ports.client}",
            "--no-monitor",  # the autoscaler's: hosts are declared, not made on demand
            f"--node-manager-port={ports.node_manager_first}",
            *node_arguments(settings),
        ),
        environment={**ray_node(settings), **_control_store(settings), **NO_DASHBOARD_METRICS},
        ports={
            ports.gcs: "the Ray head",
            ports.dashboard: "the dashboard",
            **node_ports(settings),
        },
        limits=node_limits(settings),
        readiness=node_readiness(settings, HEAD_SECONDS),
    )


def _control_store(settings: Settings) -> dict[str, str]:
    """What makes Ray keep its control store in a RocksDB of the head's own: no further process, port or secret.

    Below Ray's directory, so that it goes with `cluster down`; another runtime begins with an empty one.
    """
    if settings.ray.control_store == "memory":
        return {}
    path = f"{settings.directories.ray}/control-store/{runtime_lock.load(settings.runtime).name}"
    return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": path}


def services(settings: Settings) -> tuple[Service, ...]:
    """The head."""
    return (head_service(settings),)


ROLE = Role(services=services)
