"""Settings of observability."""

from __future__ import annotations

from typing import Literal

from deploys.part import Part


class Observability(Part, frozen=True):
    """What is kept of a cluster between experiments, and where it is asked for.

    `kind`: none; metrics (Prometheus and node exporters, on hosts with systemd); traces (those, and the engines'
    spans).
    """

    kind: Literal["none", "metrics", "traces"]
    prometheus_port: int
    node_exporter_port: int
    traces_port: int
    retention_days: int
