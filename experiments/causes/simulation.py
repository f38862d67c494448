"""Simulated telemetry with planted faults, in the bundle's columns: to try the ranking out, not to judge it by.

Nobody measured these figures. The shapes are those of real exporters (counters that begin anew, scrapes that jitter
and get lost, bursts that mean nothing, load that moves to the others when a node is gone), the sizes are assumptions.
Scores on it say that the parts work together; scores of the method are those on real, labelled runs. Deterministic by
seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import signal

from experiments.causes.signatures import Kind
from experiments.causes.telemetry import Floats

HEAD = "head"
PROCESSORS = 4
MEMORY_BYTES = 16 * 1024**3
DISK_BYTES = 200e9
METRIC_SCHEMA = pa.schema(
    [
        ("at", pa.float64()),
        ("node", pa.string()),
        ("name", pa.string()),
        ("labels", pa.string()),
        ("value", pa.float64()),
    ]
)
LOG_SCHEMA = pa.schema(
    [("at", pa.float64()), *((name, pa.string()) for name in ("node", "unit", "replica", "message"))]
)
FLOW_SCHEMA = pa.schema(
    [
        ("at", pa.float64()), ("node", pa.string()), ("peer", pa.string()), ("protocol", pa.string()),
        ("rtt_ms", pa.float64()), ("retransmits", pa.float64()), ("delivery_bytes_per_second", pa.float64()),
        ("bytes", pa.float64()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A fault: what, where, when (seconds from the start), and how hard, 1 being plain to see.

    A `host` that `hangs` is there again as if nothing had been; otherwise it boots.
    """

    kind: Kind
    node: str
    began: float
    ended: float
    strength: float = 1.0
    hangs: bool = False


@dataclass(frozen=True)
class Simulated:
    """The three tables."""

    metrics: pa.Table
    flows: pa.Table
    logs: pa.Table


@dataclass
class _Node:
    """One node's levels and rates, second by second.

    `alive`: it runs; `heard`: it is reached; `moving`: its processes run, though its kernel may.
    """

    name: str
    seconds: int
    values: dict[str, Floats] = field(default_factory=dict)
    alive: Floats = field(init=False)
    heard: Floats = field(init=False)
    moving: Floats = field(init=False)
    engine: Floats = field(init=False)
    engine_began: list[int] = field(default_factory=list)
    booted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alive, self.heard, self.moving, self.engine = (np.ones(self.seconds) for _ in range(4))


def simulate(
    planted: Sequence[Planted] = (),
    *,
    seed: int,
    workers: int = 3,
    seconds: int = 240,
    interval: float = 5.0,
    began: float = 1_800_000_000.0,
    pressure: bool = True,
    gpus: bool = False,
) -> Simulated:
    """Telemetry of a head and workers under a load that changes, with these faults. `pressure`: the kernel's PSI."""
    random = np.random.default_rng(seed)
    names = [HEAD, *(f"worker{number + 1}" for number in range(workers))]
    nodes = {name: _Node(name, seconds) for name in names}
    for fault in planted:
        _interrupt(nodes[fault.node], fault, seconds)
    load = _load(random, seconds)
    serving = sum(node.engine * node.alive * node.heard * node.moving for name, node in nodes.items() if name != HEAD)
    share = workers / np.maximum(np.asarray(serving, dtype=np.float64), 1.0)
    for name, node in nodes.items():
        _calm(random, node, load * (0.25 if name == HEAD else np.minimum(share, 3.0)), gpus)
    for fault in planted:
        _disturb(nodes[fault.node], fault, random)
    metrics = [row for node in nodes.values() for row in _scraped(random, node, began, interval, pressure, gpus)]
    flows = list(_flows(random, nodes, planted, began, interval))
    return Simulated(
        _table(metrics, METRIC_SCHEMA),
        _table(flows, FLOW_SCHEMA),
        _table(list(_logs(random, nodes, planted, began)), LOG_SCHEMA),
    )


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Any] = list(zip(*rows, strict=True)) or [() for _ in schema]
    return pa.table({one.name: pa.array(column, one.type) for one, column in zip(schema, columns, strict=True)})


def _noise(random: np.random.Generator, seconds: int, size: float, memory: float = 0.8) -> Floats:
    """Noise with a memory, as levels of machines have it."""
    shocks = random.normal(0.0, size * np.sqrt(1 - memory**2), seconds)
    shocks[0] = random.normal(0.0, size)
    return np.asarray(signal.lfilter([1.0], [1.0, -memory], shocks), dtype=np.float64)


def _load(random: np.random.Generator, seconds: int) -> Floats:
    """Steps of load with Poisson arrivals, from idle to idle."""
    steps = np.repeat(random.uniform(0.7, 1.2, 4), int(np.ceil(seconds / 4)))[:seconds]
    made = steps * random.poisson(30, seconds) / 30
    made[: max(4, seconds // 40)] *= 0.02
    made[-max(4, seconds // 40) :] *= 0.02
    return np.asarray(made, dtype=np.float64)


def _bursts(random: np.random.Generator, seconds: int, size: float) -> Floats:
    """What a machine does of its own: short, rare, and no fault."""
    made = np.zeros(seconds)
    for start in random.integers(0, seconds, max(1, seconds // 90)):
        made[start : start + int(random.integers(2, 6))] += size * random.uniform(0.4, 1.0)
    return made


def _span(node: _Node, fault: Planted) -> Floats:
    """How much of a fault there is at each second: it takes a moment to begin and to end."""
    at = np.arange(node.seconds)
    rising = np.clip((at - fault.began) / 2.0, 0, 1)
    falling = np.clip((fault.ended - at) / 2.0 + 1, 0, 1)
    return np.asarray(rising * falling * fault.strength, dtype=np.float64)


def _interrupt(node: _Node, fault: Planted, seconds: int) -> None:
    first, last = int(fault.began), min(int(fault.ended), seconds - 1)
    if fault.kind == "host" and fault.hangs:
        node.moving[first:last] = 0
    elif fault.kind == "host":
        node.alive[first:last] = 0
        node.engine[first : min(last + 25, seconds)] = 0
        node.booted.append(last)
        node.engine_began.append(min(last + 25, seconds - 1))
    elif fault.kind == "network-partition":
        node.heard[first:last] = 0
    elif fault.kind == "process-freeze":
        node.engine[first:last] = 0
    elif fault.kind == "process-kill":
        node.engine[first : min(first + 35, seconds)] = 0
        node.engine_began.append(min(first + 35, seconds - 1))


def _calm(random: np.random.Generator, node: _Node, load: Floats, gpus: bool) -> None:
    seconds, values = node.seconds, node.values
    up = node.engine * node.alive * node.heard * node.moving
    values["load"] = load * up
    values["busy"] = np.clip(
        0.12 + 0.38 * load * up + _noise(random, seconds, 0.03) + _bursts(random, seconds, 0.3), 0.01, 1
    )
    values["cpu_waiting"] = np.abs(0.05 + 0.1 * load * up + _noise(random, seconds, 0.03))
    values["available"] = np.clip(
        0.62 + random.uniform(-0.05, 0.05) + np.cumsum(random.normal(0, 2e-4, seconds)), 0.05, 1
    )
    values["memory_waiting"] = np.abs(_noise(random, seconds, 0.003))
    values["faults"] = random.poisson(0.5, seconds).astype(np.float64)
    values["disk_busy"] = np.clip(0.03 + np.abs(_noise(random, seconds, 0.02)) + _bursts(random, seconds, 0.5), 0, 1)
    values["disk_waiting"] = values["disk_busy"] * 0.3
    values["written"] = 1e6 * random.lognormal(0, 0.5, seconds) + 2e7 * values["disk_busy"]
    values["itl"] = 0.020 * (1 + 0.3 * load) * random.lognormal(0, 0.05, seconds)
    values["ttft"] = 0.120 * (1 + 0.5 * load) * random.lognormal(0, 0.10, seconds)
    values["slow"] = np.ones(seconds)
    if gpus:
        values["gpu_busy"] = np.clip(0.7 * load * up + _noise(random, seconds, 0.04), 0, 1)
        values["gpu_memory"] = 20e9 * (1 + _noise(random, seconds, 0.002))
        values["gpu_clock"] = 1.9e9 * (1 + _noise(random, seconds, 0.01))
        values["gpu_errors"] = np.zeros(seconds)
    if node.booted:
        values["faults"] += np.where(np.arange(seconds) >= node.booted[0], 30.0, 0.0) * (
            np.arange(seconds) < node.booted[0] + 20
        )
    for start in node.engine_began:  # weights are read, kernels are made
        after = slice(max(0, start - 20), start)
        values["disk_busy"][after] = np.maximum(values["disk_busy"][after], 0.5)
        values["busy"][after] = np.maximum(values["busy"][after], 0.8)


def _disturb(node: _Node, fault: Planted, random: np.random.Generator) -> None:
    values, much = node.values, _span(node, fault)
    if fault.kind == "cpu":
        values["busy"] = np.clip(values["busy"] + 0.5 * much, 0, 0.99)
        values["cpu_waiting"] += 0.9 * much
        values["slow"] *= 1 + 0.5 * much
    elif fault.kind == "memory":
        values["available"] = np.clip(values["available"] - 0.35 * much, 0.02, 1)
        values["memory_waiting"] += 0.2 * much
        values["faults"] += 250 * much
        values["busy"] = np.clip(values["busy"] + 0.25 * much, 0, 0.99)
        values["disk_busy"] = np.clip(values["disk_busy"] + 0.15 * much, 0, 1)
        values["slow"] *= 1 + 0.15 * much
    elif fault.kind == "disk":
        values["disk_busy"] = np.clip(values["disk_busy"] + 0.75 * much, 0, 1)
        values["disk_waiting"] += 0.5 * much
        values["written"] += 1.2e8 * much * random.lognormal(0, 0.3, node.seconds)
        values["busy"] = np.clip(values["busy"] + 0.08 * much, 0, 0.99)
    elif fault.kind == "gpu" and "gpu_busy" in values:
        values["gpu_busy"] = np.clip(values["gpu_busy"] + 0.35 * much, 0, 1)
        values["gpu_memory"] *= 1 + 0.2 * much
        values["slow"] *= 1 + 0.8 * much
    elif fault.kind == "network-delay":
        values["ttft"] += 0.04 * much
    elif fault.kind == "clock":
        values["clock"] = np.where(np.arange(node.seconds) >= fault.began, 3.0 * fault.strength, 0.0)


def _scraped(
    random: np.random.Generator, node: _Node, began: float, interval: float, pressure: bool, gpus: bool
) -> Iterator[tuple[object, ...]]:
    values, seconds = node.values, node.seconds
    every = np.arange(random.uniform(0, interval), seconds - 1, interval)
    every = every + random.normal(0, 0.05, every.size)
    every = np.clip(every[random.random(every.size) > 0.01], 0, seconds - 1)  # a scrape in a hundred is lost
    whole = np.floor(every).astype(int)
    reached = (node.alive * node.heard * node.moving)[whole] > 0
    boots = [0, *(second for second in node.booted)]
    alive = node.alive

    def counter(rates: Floats, begins: Sequence[int]) -> Floats:
        sums = np.cumsum(rates * alive)
        lost = np.zeros(seconds)
        for begin in begins:
            if begin:
                lost[begin:] = sums[begin - 1]
        return np.asarray(np.interp(every, np.arange(seconds), sums - lost), dtype=np.float64)

    def rows(
        name: str, samples: Floats, mask: np.ndarray[tuple[int], np.dtype[np.bool_]], **labels: str
    ) -> Iterator[tuple[object, ...]]:
        text = json.dumps(labels, sort_keys=True)
        for time, value in zip(every[mask], samples[mask], strict=True):
            yield began + float(time), node.name, name, text, float(value)

    def level(samples: Floats) -> Floats:
        return np.asarray(samples[whole], dtype=np.float64)

    busy = values["busy"] * node.moving
    for cpu in range(PROCESSORS):
        modes = {"user": busy * 0.85, "system": busy * 0.15, "iowait": values["disk_busy"] * 0.1 * (1 - busy)}
        modes["idle"] = np.asarray(1 - sum(modes.values()), dtype=np.float64)
        for mode, rates in modes.items():
            yield from rows("node_cpu_seconds_total", counter(rates, boots), reached, cpu=str(cpu), mode=mode)
    counters = {
        "node_vmstat_pgmajfault": values["faults"],
        "node_disk_io_time_seconds_total": values["disk_busy"],
        "node_disk_written_bytes_total": values["written"],
    }
    if pressure:
        counters |= {
            "node_pressure_cpu_waiting_seconds_total": values["cpu_waiting"],
            "node_pressure_memory_waiting_seconds_total": values["memory_waiting"],
            "node_pressure_io_waiting_seconds_total": values["disk_waiting"],
        }
    for name, rates in counters.items():
        yield from rows(name, counter(rates, boots), reached, **({"device": "vda"} if "disk" in name else {}))
    yield from rows("node_memory_MemAvailable_bytes", level(values["available"]) * MEMORY_BYTES, reached)
    yield from rows("node_memory_MemTotal_bytes", np.full(every.size, float(MEMORY_BYTES)), reached)
    booted = np.array([max(second for second in boots if second <= moment) for moment in whole], dtype=np.float64)
    yield from rows("node_boot_time_seconds", began + np.where(booted > 0, booted, -5000.0), reached)
    clock = level(values.get("clock", np.zeros(seconds)))
    yield from rows("node_time_seconds", began + every + clock + random.normal(0, 0.01, every.size), reached)
    yield from rows("node_timex_offset_seconds", random.normal(0, 1e-4, every.size) + 0 * clock, reached)
    if node.name == HEAD:
        return
    answers = reached & (node.engine[whole] > 0)
    done = values["load"] / values["slow"]
    engine = {"model_name": "smollm2-135m-instruct"}
    tokens = counter(done * 180, node.engine_began)
    yield from rows("vllm:generation_tokens_total", tokens, answers, **engine)
    running = np.maximum(0, np.round(level(6 * values["load"] * values["slow"]) + random.normal(0, 0.8, every.size)))
    yield from rows("vllm:num_requests_running", running, answers, **engine)
    yield from rows("vllm:num_requests_waiting", np.maximum(0, np.round(running - 12)), answers, **engine)
    yield from rows("vllm:kv_cache_usage_perc", np.clip(running / 40, 0, 1), answers, **engine)
    for name, times, rates in (
        ("inter_token_latency", values["itl"] * values["slow"], done * 170),
        ("time_to_first_token", values["ttft"] * values["slow"], done * 3),
    ):
        yield from rows(f"vllm:{name}_seconds_sum", counter(times * rates, node.engine_began), answers, **engine)
        yield from rows(f"vllm:{name}_seconds_count", counter(rates, node.engine_began), answers, **engine)
    if gpus:
        slow = np.arange(every.size) % 2 == 0  # its reader goes on a schedule of its own
        for name, metric in (
            ("gpu_busy", "cluster_gpu_busy_share"),
            ("gpu_memory", "cluster_gpu_memory_used_bytes"),
            ("gpu_clock", "cluster_gpu_clock_hertz"),
            ("gpu_errors", "cluster_gpu_xid_errors"),
        ):
            yield from rows(metric, level(values[name]), reached & slow, gpu="0")


def _flows(
    random: np.random.Generator, nodes: dict[str, _Node], planted: Sequence[Planted], began: float, interval: float
) -> Iterator[tuple[object, ...]]:
    """Each worker's connections with the head, seen by both ends."""
    head = nodes[HEAD]
    for name, node in nodes.items():
        if name == HEAD:
            continue
        for one, other in ((name, HEAD), (HEAD, name)):
            again, size = 0.0, 0.0
            for second in np.arange(random.uniform(0, interval), node.seconds - 1, interval):
                moment = int(second)
                if not (nodes[one].alive[moment] * nodes[one].moving[moment] and (one == HEAD or node.heard[moment])):
                    continue
                joined = node.heard[moment] * node.alive[moment] * node.moving[moment] * head.alive[moment]
                rtt, delivery = 0.25 * random.lognormal(0, 0.15), 1.2e8 * random.lognormal(0, 0.2)
                sent_again = float(random.poisson(0.05 * interval))
                moved = joined * interval * (2e3 + 9e4 * node.values["load"][moment]) * random.lognormal(0, 0.1)
                for fault in planted:
                    if fault.node not in (one, other) or not fault.began <= second < fault.ended:
                        continue
                    much = fault.strength
                    if fault.kind == "network-delay":
                        rtt, delivery = rtt + 20 * much * random.lognormal(0, 0.05), delivery / (1 + 3 * much)
                    elif fault.kind == "network-loss":
                        sent_again += random.poisson(5 * much * interval)
                        rtt, delivery = rtt * random.lognormal(0.3, 0.3), delivery / (1 + much)
                    elif fault.kind == "network-rate":
                        queued = random.random() < 0.6
                        rtt, delivery = rtt * (1 + (8 * much if queued else 0)), delivery / (1 + 8 * much)
                again, size = again + sent_again, size + moved
                yield began + float(second), one, other, "tcp", float(rtt), again, float(delivery), size


def _logs(
    random: np.random.Generator, nodes: dict[str, _Node], planted: Sequence[Planted], began: float
) -> Iterator[tuple[object, ...]]:
    for name, node in nodes.items():
        for second in np.sort(random.uniform(0, node.seconds - 1, node.seconds // 6)):
            if node.alive[int(second)] * node.moving[int(second)]:
                yield began + float(second), name, "cluster-ray-worker", "", "health check answered"
    for fault in planted:
        if fault.kind == "process-kill":
            words = "Main process exited, code=killed, status=9/KILL"
            yield began + fault.began + 0.4, fault.node, "cluster-ray-worker.service", "", words
        if fault.kind == "host" and not fault.hangs:
            yield began + fault.ended + 4, fault.node, "kernel", "", "Linux version 6.1.0-31-amd64"
        if fault.kind == "gpu" and fault.strength > 1.2:
            yield began + fault.began + 1, fault.node, "kernel", "", "NVRM: Xid (PCI:0000:01:00): 43, pid=1"
