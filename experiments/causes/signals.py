"""What is looked at of each node: signals, each from the metrics that may carry it, on one grid of times. Pure.

A signal says by how much it has to change before the change matters (`least`), in its own unit, or as a factor where it
is compared by its logarithm. Sources are tried in their order; the first that a node has is taken, so a bundle without
pressure figures or GPUs has fewer signals and no wrong ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.causes import series
from experiments.causes.telemetry import Floats, Flow, Series, Telemetry

How = Literal["gauge", "rate"]
ENGINE = r"(?:ray_)?vllm[:_]"
GPU = r"(?!.*vllm).*(?:gpu|DCGM_FI|nvml|amdsmi|gram).*"


@dataclass(frozen=True)
class Part:
    """Series of a metric whose labels fit, each as a gauge or as a counter's rate, put together as one."""

    metric: str
    how: How = "gauge"
    combine: str = "sum"
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Source:
    """A signal's value: `part`, divided by `over` where there is one, times `scale`, less it where `inverted`."""

    part: Part
    over: Part | None = None
    inverted: bool = False


@dataclass(frozen=True)
class Signal:
    """`least` is the smallest change that matters: of the value, or its factor where `logarithmic`."""

    name: str
    words: str
    unit: str
    least: float
    sources: tuple[Source, ...]
    logarithmic: bool = False

    def compared(self, values: Floats) -> Floats:
        """As it is compared: itself, or its logarithm with what is too small to matter cut off."""
        if not self.logarithmic:
            return values
        with np.errstate(invalid="ignore"):
            made: Floats = np.log(np.maximum(values, 1e-9))
        return made

    @property
    def least_compared(self) -> float:
        """`least` on the compared scale."""
        return math.log(self.least) if self.logarithmic else self.least


def _gauge(metric: str, combine: str = "sum", **where: str) -> Source:
    return Source(Part(metric, "gauge", combine, tuple(where.items())))


def _rate(metric: str, combine: str = "sum", **where: str) -> Source:
    return Source(Part(metric, "rate", combine, tuple(where.items())))


def _mean(histogram: str) -> tuple[Source, ...]:
    """The mean of what a histogram counted in each interval."""
    return (Source(Part(f"{ENGINE}{histogram}_sum", "rate"), Part(f"{ENGINE}{histogram}_count", "rate")),)


_CPU, _FILES, _PROCESSES = "node_cpu_seconds_total", "node_filesystem_", "cluster_processes_"
_GAPS = "(inter_token_latency|time_per_output_token)_seconds"
_FLOW: tuple[Source, ...] = ()
# Of the peers' figures, the one that counts.
_BEST = {
    "rtt": "min",
    "rtt_floor": "min",
    "retransmits": "min",
    "delivery": "max",
    "flow_bytes": "max",
    "flows_silent": "min",
}
FLOOR_SAMPLES = 5

SIGNALS: tuple[Signal, ...] = (
    Signal(
        "cpu_busy",
        "processor busy",
        "share",
        0.12,
        (Source(Part(_CPU, "rate", where=(("mode", "(?!idle|iowait|steal).*"),)), Part(_CPU, "rate")),),
    ),
    # Of the node's own processes: hosts that share a kernel share its /proc/stat too.
    Signal("other_cpu", "processors that others use", "cores", 0.3, (_rate(_PROCESSES + "cpu_seconds", kind="other"),)),
    Signal(
        "engine_cpu",
        "processors that the engine uses",
        "factor",
        1.4,
        (_rate(_PROCESSES + "cpu_seconds", kind="engine|replica"),),
        True,
    ),
    Signal("stopped", "processes stopped", "count", 0.5, (_gauge(_PROCESSES + "stopped"),)),
    Signal("engine_processes", "processes of engines", "count", 0.5, (_gauge(_PROCESSES + "count", kind="engine"),)),
    Signal(
        "cpu_waiting",
        "waiting for a processor",
        "s/s",
        0.15,
        (_rate("node_pressure_cpu_waiting_seconds_total"), _rate("node_schedstat_waiting_seconds_total")),
    ),
    Signal(
        "memory_available",
        "memory available",
        "share",
        0.06,
        (Source(Part("node_memory_MemAvailable_bytes"), Part("node_memory_MemTotal_bytes")),),
    ),
    Signal("memory_waiting", "waiting for memory", "s/s", 0.05, (_rate("node_pressure_memory_waiting_seconds_total"),)),
    Signal("major_faults", "pages read back from disk", "1/s", 40.0, (_rate("node_vmstat_pgmajfault"),)),
    Signal("swapping", "pages swapped", "1/s", 100.0, (_rate("node_vmstat_pswp(in|out)"),)),
    Signal("disk_busy", "disk busy", "share", 0.20, (_rate("node_disk_io_time_seconds_total", "max"),)),
    Signal("disk_waiting", "waiting for the disk", "s/s", 0.12, (_rate("node_pressure_io_waiting_seconds_total"),)),
    Signal(
        "disk_bytes", "bytes to and from disk", "B/s", 20e6, (_rate("node_disk_(written|read)_bytes_total"),)
    ),
    Signal(
        "disk_free",
        "file systems free",
        "share",
        0.05,
        (Source(Part(_FILES + "avail_bytes", combine="min"), Part(_FILES + "size_bytes", combine="max")),),
    ),
    Signal("gpu_busy", "GPU busy", "share", 0.15, (_gauge(GPU + r"(?<!memory_)(util|busy).*", "mean"),)),
    Signal("gpu_memory", "GPU memory used", "factor", 1.08, (_gauge(GPU + r"(mem|gram|fb).*used.*"),), True),
    Signal("gpu_clock", "GPU clock", "factor", 1.10, (_gauge(GPU + r"clock.*", "min", clock="compute|"),), True),
    Signal("gpu_power", "GPU power", "factor", 1.25, (_gauge(GPU + r"power(?!_limit).*"),), True),
    Signal("gpu_errors", "GPU errors", "count", 0.5, (_gauge(GPU + r"(xid|ecc|error|replays).*"),)),
    Signal("gpu_lost", "GPUs lost", "count", 0.5, (_gauge(GPU + r"lost.*"),)),
    Signal("rtt", "round trip to the peers", "factor", 1.6, _FLOW, True),
    Signal("rtt_floor", "shortest round trip to the peers", "factor", 1.6, _FLOW, True),
    Signal("retransmits", "segments sent again", "1/s", 1.5, _FLOW),
    Signal("delivery", "rate at which the network delivers", "factor", 1.8, _FLOW, True),
    Signal("flow_bytes", "bytes of the cluster's connections", "factor", 3.0, _FLOW, True),
    Signal("running", "requests that run", "count", 2.0, (_gauge(f"{ENGINE}num_requests_running"),)),
    Signal("waiting", "requests that wait", "count", 2.0, (_gauge(f"{ENGINE}num_requests_waiting"),)),
    Signal("kv_cache", "KV cache in use", "share", 0.15, (_gauge(f"{ENGINE}(kv|gpu)_cache_usage_perc", "max"),)),
    Signal("tokens", "tokens generated", "factor", 1.3, (_rate(f"{ENGINE}generation_tokens(_total)?"),), True),
    Signal("ttft", "time to first token", "factor", 1.4, _mean("time_to_first_token_seconds"), True),
    Signal("itl", "time between tokens", "factor", 1.25, _mean(_GAPS), True),
    Signal("clock_offset", "clock's offset", "s", 0.05, (_gauge("node_timex_offset_seconds", "mean"),)),
    Signal("alive", "node that Ray counts in", "count", 0.5, (_gauge("cluster_node_alive"),)),
    Signal("node_silent", "node's metrics missing", "share", 0.5, ()),
    Signal("engine_silent", "engine's metrics missing", "share", 0.5, ()),
    Signal("flows_silent", "no bytes from the peers", "share", 0.5, _FLOW),
)  # fmt: skip
BY_NAME = {signal.name: signal for signal in SIGNALS}

Signals = Mapping[str, Mapping[str, Floats]]
"""Values by node and signal, all on one grid."""


def observed(seen: Telemetry, step: float | None = None) -> tuple[Floats, Signals]:
    """The grid (unix seconds) and every signal that a node has. `step` defaults to the metrics' own interval."""
    began, ended = seen.span
    interval = seen.interval_seconds
    at = series.grid(began, ended, step or interval)
    names = {name for node in seen.metrics.values() for name in node}
    known = {metric: _matching(metric, names) for metric in _metrics_named()}
    found: dict[str, dict[str, Floats]] = {}
    for node in seen.nodes:
        values: dict[str, Floats] = {}
        for signal in SIGNALS:
            for source in signal.sources:
                made = _of_source(seen, node, source, known, at, interval)
                if made is not None:
                    values[signal.name] = made
                    break
        values |= _of_flows([flow for flow in seen.flows if node in (flow.node, flow.peer)], node, at, interval)
        values |= _silence(seen, node, at, interval)
        found[node] = values
    return at, found


def engines(signals: Signals) -> frozenset[str]:
    """Nodes that have an engine: equals of each other."""
    return frozenset(node for node, values in signals.items() if "engine_silent" in values)


def _metrics_named() -> Iterator[str]:
    for signal in SIGNALS:
        for source in signal.sources:
            yield source.part.metric
            if source.over is not None:
                yield source.over.metric


def _matching(metric: str, names: set[str]) -> tuple[str, ...]:
    pattern = re.compile(metric, re.IGNORECASE)
    return tuple(sorted(name for name in names if pattern.fullmatch(name)))


def _of_part(
    seen: Telemetry, node: str, part: Part, known: Mapping[str, Sequence[str]], at: Floats, interval: float
) -> Floats | None:
    patterns = {label: re.compile(value) for label, value in part.where}
    every = [
        one
        for one in seen.named(node, known[part.metric])
        if all(pattern.fullmatch(one.labels.get(label, "")) for label, pattern in patterns.items())
    ]
    function = series.gauge if part.how == "gauge" else series.rate
    made = [function(one.times, one.values, at, max(interval, series.own_interval(one.times))) for one in every]
    return series.together(made, part.combine) if made else None


def _of_source(
    seen: Telemetry, node: str, source: Source, known: Mapping[str, Sequence[str]], at: Floats, interval: float
) -> Floats | None:
    value = _of_part(seen, node, source.part, known, at, interval)
    if value is None or source.over is None:
        return value
    over = _of_part(seen, node, source.over, known, at, interval)
    if over is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Floats = np.where(over > 0, value / over, np.nan)
    return made


def _of_flows(flows: Sequence[Flow], node: str, at: Floats, interval: float) -> dict[str, Floats]:
    """A node's connections as one: those with the peer with whom all is best, since a bad peer is not the node's fault.

    Both ends see a connection, and what a node's peers say of it counts like its own word.
    """
    by_peer: dict[str, list[Flow]] = {}
    for flow in flows:
        by_peer.setdefault(flow.peer if flow.node == node else flow.node, []).append(flow)
    every: dict[str, list[Floats]] = {name: [] for name in _BEST}
    for both in by_peer.values():
        gaps = [max(interval, series.own_interval(one.times)) for one in both]
        rtt = [series.gauge(one.times, one.rtt_ms, at, gap) for one, gap in zip(both, gaps, strict=True)]
        delivery = [
            series.gauge(one.times, one.delivery_bytes_per_second, at, gap) for one, gap in zip(both, gaps, strict=True)
        ]
        # Counts are of sockets that are open now: they fall when one closes, which is nothing new sent.
        again, size = (
            [
                series.rate(one.times, getattr(one, name), at, gap, anew=False)
                for one, gap in zip(both, gaps, strict=True)
            ]
            for name in ("retransmits", "bytes")
        )
        every["rtt"].append(series.together(rtt, "max"))
        every["rtt_floor"].append(series.rolling(series.together(rtt, "min"), FLOOR_SAMPLES, "min"))
        every["retransmits"].append(series.together(again, "max"))
        every["delivery"].append(series.together(delivery, "min"))
        every["flow_bytes"].append(series.together(size, "max") + 1e3)
        moving = series.together(size, "max")
        every["flows_silent"].append(np.where(np.isnan(moving), np.nan, np.where(moving > 0, 0.0, 1.0)))
    made = {name: series.together(found, _BEST[name]) for name, found in every.items() if found}
    return {name: values for name, values in made.items() if np.isfinite(values).any()}


def _silence(seen: Telemetry, node: str, at: Floats, interval: float) -> dict[str, Floats]:
    """1 while nothing comes from the node, or from its engine. `up` is the collector's word, not the node's."""
    metrics = seen.metrics.get(node, {})
    found = {}
    for name, begins in (("node_silent", ("node_", _PROCESSES)), ("engine_silent", ("vllm", "ray_vllm"))):
        times = [one.times for metric, every in metrics.items() if metric.startswith(begins) for one in every]
        if times:
            all_times = np.unique(np.concatenate(times))
            silent = 1.0 - series.present(all_times, at, interval)
            # Before the first sample nothing was asked: an engine that starts with the run is no silent one.
            found[name] = np.where(at < all_times[0], 0.0, silent)
    return found


def all_series(seen: Telemetry, node: str, pattern: str) -> Iterator[Series]:
    """Every series of a node whose metric's whole name fits."""
    wanted = re.compile(pattern)
    for name, every in seen.metrics.get(node, {}).items():
        if wanted.fullmatch(name):
            yield from every
