"""What the servers said of themselves while the load ran: time series of their metrics, and lines of their logs. Pure.

Names are those of vLLM (`vllm:...`, or `ray_vllm_...` where Ray passes them on), HAProxy and the node exporter. Unix
seconds. Where nothing was collected a question has no answer, which is not the same as a good one.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.telemetry import gateway_log
from experiments.verdict.requests import Floats

RUNNING = "vllm_num_requests_running"
WAITING = "vllm_num_requests_waiting"
KV_USAGE = ("vllm_kv_cache_usage_perc", "vllm_gpu_cache_usage_perc")
PREEMPTIONS = "vllm_num_preemptions_total"
FINISHED = "vllm_request_success_total"
PREFIX_QUERIES = "vllm_prefix_cache_queries_total"
PREFIX_HITS = "vllm_prefix_cache_hits_total"
STARTED = "process_start_time_seconds"
HOST_TIME = "node_time_seconds"
RETRIES = ("haproxy_backend_retry_warnings_total", "haproxy_backend_redispatch_warnings_total")
COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
# Counters that only grow while their process lives.
ENGINE_COUNTERS = (FINISHED, "vllm_generation_tokens_total", "vllm_prompt_tokens_total", PREEMPTIONS)
COMPILES = re.compile(
    r"torch\.compile|(compil\w+|captur\w+) .{0,40}(graph|kernel|shape)|(graph|kernel|jit) (compil|captur)\w+|autotun",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Series:
    """One metric of one process: when it was looked at, and what it was."""

    node: str
    labels: str
    at: Floats
    value: Floats

    def during(self, began: float, ended: float) -> Series:
        """Looks of that time."""
        chosen = (self.at >= began) & (self.at <= ended)
        return Series(self.node, self.labels, self.at[chosen], self.value[chosen])

    def around(self, began: float, ended: float) -> Series:
        """Looks of that time, with the last one before it and the first one after it: what a counter needs."""
        if not self.at.size:
            return self
        first = max(int(np.searchsorted(self.at, began, side="right")) - 1, 0)
        last = min(int(np.searchsorted(self.at, ended, side="left")) + 1, self.at.size)
        return Series(self.node, self.labels, self.at[first:last], self.value[first:last])

    @property
    def increase(self) -> float:
        """By how much a counter grew; after a reset it counts from nought."""
        steps = np.diff(self.value)
        return float(np.where(steps >= 0, steps, self.value[1:]).sum())

    @property
    def resets(self) -> list[float]:
        """When a counter was first seen lower than before."""
        return [float(at) for at in self.at[1:][np.diff(self.value) < 0]]


@dataclass(frozen=True)
class Line:
    """A line of a log."""

    at: float
    node: str
    message: str


@dataclass(frozen=True)
class Passed:
    """A completion that went through the gateway, as its log says: when, whose trace, given to another so often."""

    at: float
    trace: str
    retries: int


@dataclass(frozen=True)
class ServerSeen:
    """Series by name (with `_` in place of `:` and without Ray's prefix), lines of logs, what the gateway passed on."""

    metrics: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    logs: Sequence[Line] = ()
    passed: Sequence[Passed] = ()

    def series(self, *names: str) -> list[Series]:
        """Of the first of these names that there is."""
        return next((list(self.metrics[name]) for name in names if self.metrics.get(name)), [])

    def total(self, name: str, began: float, ended: float) -> float | None:
        """By how much a counter grew in that time, over all processes; None where nobody said."""
        found = [series.around(began, ended) for series in self.series(name)]
        counted = [series.increase for series in found if series.at.size > 1]
        return sum(counted) if counted else None

    @property
    def compiles(self) -> list[Line]:
        """Lines that say that a graph or a kernel was compiled or captured."""
        return [line for line in self.logs if COMPILES.search(line.message)]


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    logs: Iterable[Mapping[str, Any]] = (),
    spans: Iterable[Mapping[str, Any]] = (),
) -> ServerSeen:
    """Of rows as a bundle's tables have them: metrics, logs, spans. `labels` and `attributes` are JSON text."""
    by_series: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        place = (_plain(str(row["name"])), str(row["node"]), str(row["labels"] or ""))
        by_series[place].append((float(row["at"]), float(row["value"])))
    metrics: dict[str, list[Series]] = defaultdict(list)
    for (name, node, labels), looks in sorted(by_series.items()):
        looks.sort()
        at, value = np.asarray(looks, dtype=float).T
        known = np.isfinite(value)
        metrics[name].append(Series(node, labels, at[known], value[known]))
    lines = [Line(float(row["at"]), str(row["node"]), str(row["message"])) for row in logs]
    passed = []
    for row in spans:
        about = json.loads(row["attributes"] or "{}") if row["name"] == gateway_log.NAME else {}
        if about.get("http.path") in COMPLETIONS:
            passed.append(Passed(float(row["began"]), str(row["trace"]), int(about.get("gateway.retries") or 0)))
    return ServerSeen(dict(metrics), sorted(lines, key=lambda line: line.at), passed)


def _plain(name: str) -> str:
    return name.removeprefix("ray_").replace(":", "_")
