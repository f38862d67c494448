"""What follows from an inventory's choice of traces for engines and firewall. Pure; no other role is imported here."""

from __future__ import annotations

from typing import Any

from deploys.settings import Settings


def wants_traces(settings: Settings) -> bool:
    """Whether engines tell of each request."""
    return settings.observability.kind == "traces"


def traces_endpoint(settings: Settings) -> str:
    """Where engines send their spans."""
    return f"http://{settings.head_address}:{settings.observability.traces_port}/v1/traces"


def engine_arguments(settings: Settings) -> dict[str, Any]:
    """What vLLM is told for its traces; nothing where none are wanted."""
    return {"otlp_traces_endpoint": traces_endpoint(settings)} if wants_traces(settings) else {}


def engine_environment(settings: Settings) -> dict[str, str]:
    """How an engine's spans go, and whose they are: OpenTelemetry's own variables."""
    if not wants_traces(settings):
        return {}
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": f"cluster.node={settings.node},cluster.name={settings.cluster}",
        "OTEL_SERVICE_NAME": "vllm",
    }


def closed_ports(settings: Settings) -> tuple[int, ...]:
    """Ports that only the cluster's hosts reach."""
    ports = settings.observability
    if ports.kind == "none":
        return ()
    return ports.prometheus_port, ports.node_exporter_port, ports.traces_port
