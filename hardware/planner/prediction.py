"""TTFT, ITL and throughput of a placement at several concurrencies. Pure; seconds, tokens a second.

The load is closed: `concurrency` users, each asking again as soon as it has its answer, prompts and outputs of one
length, spread evenly over the replicas. An engine runs as many at once as its cache and max_num_seqs allow. With R
running, a request takes

    prefill + output x step(R) + (R - 1) x prefill of another

because each of the others asks once in that time and its prefill holds up everybody's step (chunked prefill, vLLM's
default). TTFT is the request's own prefill, half a step of waiting for its turn, and the queue if there is one.
A pipeline runs as many micro-batches as it has stages, so a token takes one pass through all of them.

The interval spans the levels of `rates` (a datasheet's uncertainty), times the spread of measured over predicted that a
calibration has recorded (10 % to 90 % of them).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from hardware.planner import options as engine_options
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration
from hardware.planner.errors import PlanError
from hardware.planner.memory import RankMemory
from hardware.planner.options import Options
from hardware.planner.placement import Hardware, Placement, paths
from hardware.planner.rates import LEVELS, Level, Rates, rates
from hardware.planner.timing import Limit, Part, Timing, overlapped, stage_timing
from hardware.planner.work import Step, stage_work

FEW = 5
# More users than any engine schedules; a number above it is a slip of the hand.
MOST_USERS = 100_000
UNCHECKED = 1.25


@dataclass(frozen=True)
class Workload:
    """What is asked: prompts and outputs in tokens, and how many users at once."""

    prompt_tokens: int
    output_tokens: int
    concurrencies: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, value in (("prompt", self.prompt_tokens), ("output", self.output_tokens)):
            if value < 1:
                raise PlanError(f"{name} is {value} tokens; it has to be at least 1")
        if not self.concurrencies or min(self.concurrencies) < 1:
            raise PlanError(f"concurrency is {list(self.concurrencies)}; give one or more numbers above 0")
        if max(self.concurrencies) > MOST_USERS:
            raise PlanError(f"concurrency is {max(self.concurrencies)}; at most {MOST_USERS} users can be planned for")

    @property
    def length_tokens(self) -> int:
        """A whole request."""
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True)
class Interval:
    """A value with its range; `low` and `high` are ends of the number, not of its goodness."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What is expected at one concurrency. `running` is for each engine; `waiting` are users that find no room."""

    concurrency: int
    running: int
    waiting: int
    ttft_seconds: Interval
    itl_seconds: Interval
    tokens_per_second: Interval
    limit: Limit
    limit_share: float
    decode: Timing
    prefill: Timing


def step_timing(
    model: Model,
    hardware: Hardware,
    placement: Placement,
    step: Step,
    options: Options,
    level_rates: Rates,
    calibration: Calibration | None,
    level: Level,
) -> tuple[Timing, ...]:
    """Timing of each stage of one engine's step."""
    curves = calibration.curves if calibration is not None else ()
    beside = hardware.device.runtime_kind != "cpu"
    return tuple(
        stage_timing(
            stage_work(model, placement.sharding, stage, step, options),
            level_rates,
            paths(hardware, placement, stage, calibration, level),
            curves,
            host_beside=beside,
        )
        for stage in range(placement.sharding.pipeline)
    )


def spread(calibration: Calibration | None) -> tuple[float, float, str]:
    """(factor down, factor up, where they come from) for times that a calibration predicts."""
    if calibration is None:
        return 1.0, 1.0, "from datasheets: the range of the assumed efficiencies (hardware/planner/assumptions.py)"
    ratios = sorted(calibration.ratios())
    if len(ratios) < FEW:
        return (
            1 / UNCHECKED,
            UNCHECKED,
            f"calibrated, but compared with {len(ratios)} measurements only: ±{UNCHECKED - 1:.0%} are added",
        )
    tenths = statistics.quantiles(ratios, n=10, method="inclusive")
    most = f"{tenths[0]:.2f} to {tenths[-1]:.2f} in 80 % of {len(ratios)} comparisons"
    said = f"calibrated: measured over predicted was {most}"
    return min(1.0, tenths[0]), max(1.0, tenths[-1]), said


def predict(
    model: Model,
    hardware: Hardware,
    placement: Placement,
    memory: tuple[RankMemory, ...],
    workload: Workload,
    options: Options,
    precision: str,
    calibration: Calibration | None = None,
) -> tuple[Prediction, ...]:
    """One prediction for each concurrency. MissingFigure when a rate is in no catalogue and no calibration."""
    down, up, _ = spread(calibration)
    total = memory[0].memory_bytes
    most_sequences = engine_options.sequences(options, total, hardware.device.runtime_kind)
    batched = engine_options.batched_tokens(options, total, hardware.device.runtime_kind)
    capacity = min(
        int(rank.kv_bytes // (rank.sequence_bytes * workload.length_tokens / rank.length_tokens)) for rank in memory
    )
    found = []
    for concurrency in workload.concurrencies:
        asked = math.ceil(concurrency / placement.replicas)
        # Each data-parallel rank has a cache of its own.
        running = max(1, min(asked, capacity * placement.sharding.data, most_sequences * placement.sharding.data))
        waiting = asked - running
        active = min(placement.replicas, concurrency)
        outcome: dict[Level, tuple[float, float, float, Timing, Timing]] = {}
        for level in LEVELS:
            level_rates = rates(hardware.device, calibration, precision, level)
            if hardware.one_machine:
                level_rates = level_rates.shared_by(active)

            def timed(step: Step, level: Level = level, level_rates: Rates = level_rates) -> tuple[Timing, ...]:
                return step_timing(model, hardware, placement, step, options, level_rates, calibration, level)

            outcome[level] = _at(timed, workload, running, waiting, placement, batched)
        users = min(concurrency, running * placement.replicas)
        ttft, itl, request, decode, prefill = outcome["likely"]
        limit, share = _binding(decode, prefill, workload, running, waiting, asked, capacity * placement.sharding.data)
        found.append(
            Prediction(
                concurrency=concurrency,
                running=running,
                waiting=waiting * placement.replicas,
                ttft_seconds=Interval(outcome["best"][0] * down, ttft, outcome["worst"][0] * up),
                itl_seconds=Interval(outcome["best"][1] * down, itl, outcome["worst"][1] * up),
                tokens_per_second=Interval(
                    users * workload.output_tokens / outcome["worst"][2] / up,
                    users * workload.output_tokens / request,
                    users * workload.output_tokens / outcome["best"][2] / down,
                ),
                limit=limit,
                limit_share=share,
                decode=decode,
                prefill=prefill,
            )
        )
    return tuple(found)


def _at(
    timed: Callable[[Step], tuple[Timing, ...]],
    workload: Workload,
    running: int,
    waiting: int,
    placement: Placement,
    batched: int,
) -> tuple[float, float, float, Timing, Timing]:
    """(TTFT, ITL, whole request, decode step, prefill) at one level."""
    context = workload.prompt_tokens + workload.output_tokens / 2
    group = math.ceil(running / placement.sharding.pipeline)
    decode_stages = timed(Step(group, context))
    chunks = math.ceil(workload.prompt_tokens / batched)
    prefill_stages = timed(Step(1, workload.prompt_tokens, prefill=True, chunks=chunks))
    decode, prefill = _together(decode_stages), _together(prefill_stages, chunks)
    # Another request's prefill holds up a pipeline only for as long as its slowest stage takes.
    held_up = max(stage.seconds for stage in prefill_stages)
    request = prefill.seconds + workload.output_tokens * decode.seconds + (running - 1) * held_up
    itl = (request - prefill.seconds) / workload.output_tokens
    turn = decode.seconds / 2 if running > 1 else 0.0
    ttft = prefill.seconds + turn + waiting * request / running
    return ttft, itl, request, decode, prefill


def _together(stages: tuple[Timing, ...], chunks: int = 1) -> Timing:
    """One pass through all stages, in chunks that follow each other."""
    share = overlapped([stage.seconds for stage in stages], chunks)
    sums: dict[tuple[str, Limit], list[float]] = {}
    for stage in stages:
        for part in stage.parts:
            entry = sums.setdefault((part.name, part.limit), [0.0, 0.0, 0.0])
            for index, value in enumerate((part.seconds * share, part.bytes, part.flops)):
                entry[index] += value
    return Timing(tuple(Part(name, s, limit, b, f) for (name, limit), (s, b, f) in sums.items()))


def _binding(
    decode: Timing, prefill: Timing, workload: Workload, running: int, waiting: int, asked: int, capacity: int
) -> tuple[Limit, float]:
    """What most of a request's time goes to; the cache, when users wait for room in it."""
    if waiting > 0 and running >= capacity:
        return "KV capacity", waiting / asked
    sums: dict[Limit, float] = {}
    for timing, weight in ((decode, float(workload.output_tokens)), (prefill, float(running))):
        for limit, seconds in timing.by_limit().items():
            sums[limit] = sums.get(limit, 0.0) + seconds * weight
    limit, seconds = max(sums.items(), key=lambda entry: entry[1])
    return limit, seconds / sum(sums.values())
