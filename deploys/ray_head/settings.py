"""Settings of Ray on a node, head and worker alike."""

from __future__ import annotations

from typing import Literal

from deploys.part import Part


class Ports(Part, frozen=True):
    """TCP ports of one Ray node, all pinned."""

    gcs: int
    node_manager_first: int
    node_manager_last: int
    object_manager: int
    runtime_env_agent: int
    agent_grpc: int
    metrics: int
    agent_http: int
    dashboard: int
    client: int
    worker_first: int
    worker_last: int
    engine_first: int
    engine_last: int
    watch: int


class Ray(Part, frozen=True):
    """What one node declares to Ray. `engine_slots` is the custom resource that keeps engines to one a node.

    `control_store`: where the head remembers nodes, actors and applications. On disk they outlive it.
    """

    cpus: int
    gpus: int
    engine_slots: int
    object_store_bytes: int
    control_store: Literal["disk", "memory"]
    ports: Ports
