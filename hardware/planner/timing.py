"""How long a step takes, in parts that add up, each with what limits it. Pure; seconds.

A rank's kernels run one after another, so their times add; each takes the longer of its memory time and its compute
time (the roofline: Williams, Waterman and Patterson 2009). The host prepares the next step meanwhile, so a step takes
the longer of the two, and then what neither can hide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hardware.planner import collectives
from hardware.planner.collectives import Curve, Path
from hardware.planner.rates import Rates
from hardware.planner.work import FEW_ROWS, FULL_ROWS, Exchange, StageWork, Work

Limit = Literal["memory bandwidth", "compute", "link latency", "link bandwidth", "kernel launch", "host", "KV capacity"]


@dataclass(frozen=True)
class Part:
    """A share of a step's time, what it went to, and what would have to be better for it to shrink."""

    name: str
    seconds: float
    limit: Limit
    bytes: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Timing:
    """A step's parts; they add up to `seconds`."""

    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """The whole."""
        return sum(part.seconds for part in self.parts)

    def by_limit(self) -> dict[Limit, float]:
        """Seconds for each limit, the largest first."""
        sums: dict[Limit, float] = {}
        for part in self.parts:
            sums[part.limit] = sums.get(part.limit, 0.0) + part.seconds
        return dict(sorted(sums.items(), key=lambda entry: -entry[1]))

    @property
    def binding(self) -> tuple[Limit, float]:
        """The limit with the largest share, and that share of the whole."""
        limit, seconds = next(iter(self.by_limit().items()))
        return limit, seconds / self.seconds if self.seconds else 0.0


def memory_and_compute(work: Work, rates: Rates) -> tuple[float, float]:
    """(seconds for its bytes, seconds for its FLOPs)."""
    memory = {
        "experts": rates.expert_bytes_per_second,
        "attention": rates.attention_bytes_per_second,
    }.get(work.kind, rates.memory_bytes_per_second)
    if work.kind == "experts" and rates.expert_flops_per_second is not None:
        return work.bytes / memory, work.flops / rates.expert_flops_per_second
    compute = rates.attention_flops_per_second if work.kind == "attention" else rates.flops_per_second
    few = few_rows_share(work)
    if work.kind != "attention" and rates.few_rows_flops_per_second is not None and few:
        slow = work.flops / rates.few_rows_flops_per_second
        return work.bytes / memory, few * slow + (1 - few) * work.flops / compute
    return work.bytes / memory, work.flops / compute


def few_rows_share(work: Work) -> float:
    """1 for products of few rows, 0 for those of many, between them by the logarithm of their rows."""
    span = math.log(FULL_ROWS / FEW_ROWS)
    return 1 - min(1.0, max(0.0, math.log(max(work.rows, FEW_ROWS) / FEW_ROWS) / span))


def exchange_seconds(exchange: Exchange, path: Path, curves: Sequence[Curve]) -> tuple[float, float]:
    """(whole time, the part of it that a message without content would take)."""
    whole = collectives.seconds(exchange.operation, exchange.size_bytes, exchange.ranks, path, curves)
    empty = collectives.seconds(exchange.operation, 1.0, exchange.ranks, path, curves)
    return whole * exchange.count, min(whole, empty) * exchange.count


def host_seconds(stage: StageWork, rates: Rates) -> float:
    """What the host needs for the step: scheduling, and the launches that no captured graph saves."""
    return rates.host_seconds + rates.sequence_seconds * stage.sequences + rates.launch_seconds * stage.launches


def overlapped(stages: Sequence[float], chunks: int) -> float:
    """Share of the stages' summed seconds that a prompt takes: a stage has the next chunk while its successor has this.

    The first chunk passes through all stages; each further one adds the slowest stage's time for a chunk.
    """
    total = sum(stages)
    return (total + (chunks - 1) * max(stages)) / (chunks * total) if total > 0 else 1.0


def stage_timing(
    stage: StageWork, rates: Rates, paths: Mapping[str, Path], curves: Sequence[Curve] = (), *, host_beside: bool = True
) -> Timing:
    """Time of one stage's step. `paths` by group: tensor, expert, pipeline.

    `host_beside` False: host and accelerator are the same processor, so their times add.
    """
    parts: list[Part] = []
    sums: dict[tuple[str, Limit], list[float]] = {}
    for work in stage.work:
        memory, compute = memory_and_compute(work, rates)
        limit: Limit = "memory bandwidth" if memory >= compute else "compute"
        entry = sums.setdefault((work.kind, limit), [0.0, 0.0, 0.0])
        for index, value in enumerate((max(memory, compute), work.bytes, work.flops)):
            entry[index] += value
    for (name, limit), (seconds, size, flops) in sums.items():
        if seconds:
            parts.append(Part(name, seconds, limit, size, flops))
    for exchange in stage.exchanges:
        whole, empty = exchange_seconds(exchange, paths[exchange.group], curves)
        name = f"{exchange.operation} ({exchange.group})"
        if empty:
            parts.append(Part(name, empty, "link latency"))
        if whole > empty:
            parts.append(Part(name, whole - empty, "link bandwidth", exchange.size_bytes * exchange.count))
    parts.append(Part("kernels", stage.kernels * rates.kernel_seconds, "kernel launch"))
    busy = sum(part.seconds for part in parts)
    host = host_seconds(stage, rates)
    waited = max(0.0, host - busy) if host_beside else host
    parts.append(Part("host", waited + rates.step_seconds, "host"))
    parts.append(Part("several ranks", stage.distributed * rates.distributed_seconds, "host"))
    parts.append(Part("request", stage.requests * rates.request_seconds, "host"))
    return Timing(tuple(part for part in parts if part.seconds > 0))
