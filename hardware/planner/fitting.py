"""Fits a calibration's rates and overheads to measured steps. Pure; least squares in the standard library.

A step's time is piecewise linear in the inverse rates and the overheads: each kernel is on its memory or its compute
branch, the step on its accelerator or its host branch. With the branches of the last round fixed, what remains is
linear least squares of relative errors, with no value below zero, and with a prior: microbenchmarks where there are
some, else the assumptions, held weakly. A few rounds settle the branches. So a single point moves only what it can
tell apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.collectives import Curve, Path
from hardware.planner.errors import PlanError
from hardware.planner.points import Point
from hardware.planner.rates import Rates
from hardware.planner.timing import (
    exchange_seconds,
    few_rows_share,
    host_seconds,
    memory_and_compute,
    overlapped,
    stage_timing,
)
from hardware.planner.work import StageWork, stage_work

ROUNDS = 40
SWEEPS = 200

# Fitted value -> relative standard deviation of its prior when it was measured on its own, and when it was assumed.
_TRUST: dict[str, tuple[float, float]] = {
    "memory": (0.10, 0.5),
    "experts": (0.30, 1.0),
    "attention": (0.50, 1.0),
    "flops": (0.20, 0.7),
    "few rows flops": (0.30, 0.7),
    "attention flops": (0.50, 1.0),
    "kernel": (1.0, 2.0),
    "launch": (1.0, 2.0),
    "step": (1.0, 3.0),
    "host": (1.0, 3.0),
    "sequence": (1.0, 3.0),
    "request": (1.0, 3.0),
    "distributed": (1.0, 3.0),
}
_NAMES = tuple(_TRUST)


@dataclass(frozen=True)
class FittedRates:
    """Fitted rates, and each point's prediction with them."""

    rates: Rates
    outcomes: tuple[Outcome, ...]

    @property
    def median_error(self) -> float:
        """Median of |predicted / measured - 1|."""
        return statistics.median(abs(outcome.predicted / outcome.measured - 1) for outcome in self.outcomes)


def point_paths(point: Point, paths: Mapping[str, Path]) -> dict[str, Path]:
    """The path of every group of a point's ranks: all talk over the one that the point names."""
    if point.sharding.ranks == 1:
        return {}
    if point.path not in paths:
        known = ", ".join(paths) or "none"
        raise PlanError(
            f"{point.name}: path {point.path!r} was not measured; known are {known}; give a calibration that has it or "
            "leave such points out"
        )
    path = paths[point.path]
    return {"tensor": path, "expert": path, "pipeline": path}


def stages(point: Point) -> tuple[StageWork, ...]:
    """The work of a point, stage by stage."""
    return tuple(
        stage_work(point.model, point.sharding, stage, point.step, point.options)
        for stage in range(point.sharding.pipeline)
    )


def predict_point(
    point: Point, rates: Rates, paths: Mapping[str, Path], curves: Sequence[Curve], *, host_beside: bool
) -> float:
    """Time of a point with given rates."""
    groups = point_paths(point, paths)
    times = [stage_timing(stage, rates, groups, curves, host_beside=host_beside).seconds for stage in stages(point)]
    return sum(times) * overlapped(times, point.step.chunks)


def fit_rates(
    points: Sequence[Point],
    prior: Rates,
    measured: Sequence[str] = (),
    paths: Mapping[str, Path] | None = None,
    curves: Sequence[Curve] = (),
    *,
    host_beside: bool = True,
) -> FittedRates:
    """Rates that predict the points best.

    `prior` is where the search starts and what holds values that no point tells apart; `measured` names those of its
    values (memory, experts, attention, flops, attention flops) that a microbenchmark gave, which are held tighter.
    """
    if not points:
        raise PlanError("no measured points to fit; measure some with `cluster calibrate`")
    known = paths or {}
    start = _vector(prior)
    values = list(start)
    work = [(point, stages(point), point_paths(point, known)) for point in points]
    for round_number in range(ROUNDS):
        rates = _rates(values, prior)
        rows, targets = [], []
        for point, parts, groups in work:
            row = [0.0] * len(_NAMES)
            constant = 0.0
            for part in parts:
                constant += _linear(part, rates, groups, curves, row, host_beside)
            times = [stage_timing(part, rates, groups, curves, host_beside=host_beside).seconds for part in parts]
            share = overlapped(times, point.step.chunks)
            rows.append([row[index] * share * start[index] / point.seconds for index in range(len(row))])
            targets.append((point.seconds - constant * share) / point.seconds)
        shares = [value / (base or 1.0) for value, base in zip(values, start, strict=True)]
        scaled = _least_squares(rows, targets, measured, shares)
        new = [share * base for share, base in zip(scaled, start, strict=True)]
        # Half-way steps at first: a point near a ridge would else jump between its branches for ever.
        damping = 0.5 if round_number < ROUNDS // 2 else 0.25
        moved = [old + damping * (other - old) for old, other in zip(values, new, strict=True)]
        if all(abs(a - b) <= 1e-6 * max(abs(b), 1e-12) for a, b in zip(moved, values, strict=True)):
            values = moved
            break
        values = moved
    rates = _rates(values, prior)
    outcomes = tuple(
        Outcome(
            point.name,
            predict_point(point, rates, known, curves, host_beside=host_beside),
            point.seconds,
            fitted=True,
        )
        for point in points
    )
    return FittedRates(rates, outcomes)


def calibrated(base: Calibration, fitted: FittedRates, precision: str) -> Calibration:
    """A calibration with the fitted rates in it; what `base` had beside them stays."""
    rates = fitted.rates
    flops = tuple(entry for entry in base.flops_per_second if entry[0] != precision)
    few = tuple(entry for entry in base.few_rows_flops_per_second if entry[0] != precision)
    if rates.few_rows_flops_per_second is not None:
        few = (*few, (precision, rates.few_rows_flops_per_second))
    return replace(
        base,
        memory_bytes_per_second=rates.memory_bytes_per_second,
        expert_bytes_per_second=rates.expert_bytes_per_second,
        attention_bytes_per_second=rates.attention_bytes_per_second,
        attention_flops_per_second=rates.attention_flops_per_second,
        flops_per_second=(*flops, (precision, rates.flops_per_second)),
        few_rows_flops_per_second=few,
        kernel_seconds=rates.kernel_seconds,
        launch_seconds=rates.launch_seconds,
        step_seconds=rates.step_seconds,
        host_seconds=rates.host_seconds,
        sequence_seconds=rates.sequence_seconds,
        request_seconds=rates.request_seconds,
        distributed_seconds=rates.distributed_seconds,
        outcomes=(*base.outcomes, *fitted.outcomes),
    )


def _linear(
    part: StageWork,
    rates: Rates,
    groups: Mapping[str, Path],
    curves: Sequence[Curve],
    row: list[float],
    host_beside: bool,
) -> float:
    """Add a stage's coefficients to `row` on the branches that `rates` take; return what does not depend on them."""
    fixed = sum(exchange_seconds(exchange, groups[exchange.group], curves)[0] for exchange in part.exchanges)
    busy = fixed + part.kernels * rates.kernel_seconds
    coefficients = [0.0] * len(_NAMES)
    for work in part.work:
        memory, compute = memory_and_compute(work, rates)
        busy += max(memory, compute)
        if memory >= compute:
            name = {"experts": "experts", "attention": "attention"}.get(work.kind, "memory")
            coefficients[_NAMES.index(name)] += work.bytes
        elif work.kind == "experts" and rates.expert_flops_per_second is not None:
            fixed += compute  # not fitted: a shape without experts cannot tell
        else:
            few = few_rows_share(work) if rates.few_rows_flops_per_second is not None else 0.0
            if work.kind == "attention":
                coefficients[_NAMES.index("attention flops")] += work.flops
            else:
                coefficients[_NAMES.index("few rows flops")] += work.flops * few
                coefficients[_NAMES.index("flops")] += work.flops * (1 - few)
    coefficients[_NAMES.index("kernel")] += part.kernels
    on_host = not host_beside or host_seconds(part, rates) > busy
    on_device = not host_beside or not on_host
    if on_device:
        for index, value in enumerate(coefficients):
            row[index] += value
    if on_host:
        row[_NAMES.index("host")] += 1
        row[_NAMES.index("sequence")] += part.sequences
        row[_NAMES.index("launch")] += part.launches
    row[_NAMES.index("step")] += 1
    row[_NAMES.index("request")] += part.requests
    row[_NAMES.index("distributed")] += part.distributed
    return fixed if on_device else 0.0


def _least_squares(
    rows: Sequence[Sequence[float]], targets: Sequence[float], measured: Sequence[str], start: Sequence[float]
) -> list[float]:
    """min sum (row . x - target)² + sum ((x - 1) / trust)² with x >= 0, by coordinate descent. x: shares of prior."""
    size = len(_NAMES)
    normal = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
    right = [sum(row[i] * target for row, target in zip(rows, targets, strict=True)) for i in range(size)]
    for index, name in enumerate(_NAMES):
        weight = 1 / _TRUST[name][0 if name in measured else 1] ** 2
        # One prior weighs as much as one point whose error is 5 %.
        weight *= 0.05**2
        normal[index][index] += weight
        right[index] += weight
    values = list(start)
    for _ in range(SWEEPS):
        largest = 0.0
        for index in range(size):
            rest = sum(normal[index][other] * values[other] for other in range(size) if other != index)
            new = max(0.0, (right[index] - rest) / normal[index][index])
            largest = max(largest, abs(new - values[index]))
            values[index] = new
        if largest < 1e-9:
            break
    # An inverse rate of zero would be an infinite rate.
    return [max(value, 0.05) if index < 6 else value for index, value in enumerate(values)]


def _vector(rates: Rates) -> list[float]:
    return [
        1 / rates.memory_bytes_per_second,
        1 / rates.expert_bytes_per_second,
        1 / rates.attention_bytes_per_second,
        1 / rates.flops_per_second,
        1 / (rates.few_rows_flops_per_second or rates.flops_per_second),
        1 / rates.attention_flops_per_second,
        rates.kernel_seconds,
        rates.launch_seconds,
        rates.step_seconds,
        rates.host_seconds,
        rates.sequence_seconds,
        rates.request_seconds,
        rates.distributed_seconds,
    ]


def _rates(values: Sequence[float], prior: Rates) -> Rates:
    memory, experts, attention, flops, few, attention_flops = (1 / value for value in values[:6])
    kernel, launch, step, host, sequence, request, distributed = values[6:]
    return Rates(
        memory_bytes_per_second=memory,
        expert_bytes_per_second=experts,
        attention_bytes_per_second=attention,
        flops_per_second=flops,
        attention_flops_per_second=attention_flops,
        kernel_seconds=kernel,
        launch_seconds=launch,
        step_seconds=step,
        host_seconds=host,
        sequence_seconds=sequence,
        request_seconds=request,
        distributed_seconds=distributed,
        few_rows_flops_per_second=few if prior.few_rows_flops_per_second is not None else None,
        expert_flops_per_second=prior.expert_flops_per_second,
    )
