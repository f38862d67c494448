"""This project's dashboard for Grafana, as JSON that its import takes (schema version 39). Pure.

What opens by itself is the report; this is for who has a Grafana on the cluster's Prometheus
(Site(telemetry="metrics")).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SCHEMA_VERSION = 39
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Title, unit as Grafana names it, (query, legend) of each line.
Panel = tuple[str, str, Sequence[tuple[str, str]]]


def _quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, sum by (le, node) (rate(vllm:{metric}_bucket[1m])))"


def _both(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((_quantile(share, metric), f"{{{{node}}}} P{100 * share:g}") for share in (0.5, 0.99))


def _mean(metric: str) -> str:
    return f"sum by (node) (rate(vllm:{metric}_sum[1m])) / sum by (node) (rate(vllm:{metric}_count[1m]))"


PANELS: tuple[Panel, ...] = (
    ("Time to first token", "s", _both("time_to_first_token_seconds")),
    ("Between tokens", "s", _both("inter_token_latency_seconds")),
    ("Queue", "s", ((_mean("request_queue_time_seconds"), "{{node}}"),)),
    (
        "Prefill and decode",
        "s",
        tuple((_mean(f"request_{k}_time_seconds"), f"{{{{node}}}} {k}") for k in ("prefill", "decode")),
    ),
    ("Requests running", "short", (("sum by (node) (vllm:num_requests_running)", "{{node}}"),)),
    ("Requests waiting", "short", (("sum by (node) (vllm:num_requests_waiting)", "{{node}}"),)),
    ("KV cache in use", "percentunit", (("max by (node) (vllm:kv_cache_usage_perc)", "{{node}}"),)),
    ("Generated tokens", "short", (("sum by (node) (rate(vllm:generation_tokens_total[1m]))", "{{node}}"),)),
    ("Preemptions", "short", (("sum by (node) (rate(vllm:num_preemptions_total[1m]))", "{{node}}"),)),
    (
        "Processors in use",
        "percentunit",
        (('1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[1m]))', "{{node}}"),),
    ),
    (
        "Memory in use",
        "percentunit",
        (("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{node}}"),),
    ),
    ("Network out", "Bps", (("sum by (node) (rate(node_network_transmit_bytes_total[1m]))", "{{node}}"),)),
    ("TCP sent again", "short", (("rate(node_netstat_Tcp_RetransSegs[1m])", "{{node}}"),)),
    ("GPU in use", "percentunit", (("cluster_gpu_busy_ratio", "{{node}} {{gpu}}"),)),
    ("GPU memory", "bytes", (("cluster_gpu_memory_used_bytes", "{{node}} {{gpu}}"),)),
    ("GPU power", "watt", (("cluster_gpu_power_watts", "{{node}} {{gpu}}"),)),
)


def dashboard(cluster: str) -> dict[str, Any]:
    """The dashboard of a cluster; its data source is chosen where it is imported."""
    return {
        "title": f"Cluster {cluster}",
        "uid": f"cluster-{cluster}"[:40],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(place, panel) for place, panel in enumerate(PANELS)],
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    title, unit, lines = panel
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": place % COLUMNS * WIDTH, "y": place // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for index, (query, legend) in enumerate(lines)
        ],
    }
