"""Looks at measured steps: what bound them, how far from the limit they were, and what would prove it. Pure; seconds.

A step's time is split with calibrated rates; what the split does not account for is said, not spread over the parts.
The limit is the physical one: bytes over the datasheet's bandwidth or FLOPs over its peak, whichever is longer, with
nothing in between; where there is no datasheet (a processor), the same with the rates that were measured. A
counter-test changes one thing and predicts the new time: if the measured time then moves otherwise, the explanation is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hardware.planner.collectives import Curve, Path
from hardware.planner.errors import PlanError
from hardware.planner.fitting import point_paths, stages
from hardware.planner.points import Point
from hardware.planner.rates import Device, Rates, peak
from hardware.planner.timing import Limit, Part, Timing, stage_timing

# A share of the measured time below which a remainder is the noise of measuring.
NOISE = 0.10
HALF_PROCESSOR = "keep the processor at half its clock (cpupower frequency-set)"


@dataclass(frozen=True)
class CounterTest:
    """A change, how to make it, and the time that is predicted after it."""

    name: str
    how: str
    seconds: float
    change: float


@dataclass(frozen=True)
class Finding:
    """One point, explained. `ideal_source` says whose rates `ideal_seconds` are from."""

    point: Point
    timing: Timing
    ideal_seconds: float
    ideal_source: str
    intensity_flops_per_byte: float
    achieved_flops_per_second: float
    achieved_bytes_per_second: float
    tests: tuple[CounterTest, ...]

    @property
    def unexplained_seconds(self) -> float:
        """Measured less what the parts add up to; below zero when it was quicker."""
        return self.point.seconds - self.timing.seconds

    @property
    def limit(self) -> Limit:
        """What most of the time goes to."""
        return self.timing.binding[0]

    @property
    def distance(self) -> float:
        """How many times longer than physics asks for."""
        return self.point.seconds / self.ideal_seconds

    def sentence(self) -> str:
        """The finding in words, each with its figure."""
        limit, share = self.timing.binding
        said = f"{self.point.name}: {self.point.seconds * 1e3:.2f} ms, {share:.0%} of it {limit}"
        said += (
            f"; {self.distance:.1f} times the {self.ideal_seconds * 1e3:.2f} ms that reading and multiplying alone "
            f"would take by {self.ideal_source}"
        )
        rest = self.unexplained_seconds / self.point.seconds
        if rest > NOISE:
            said += f"; {rest:.0%} of it is not explained by the calibration"
        elif rest < -NOISE:
            said += f"; the calibration expects {-rest:.0%} more time than that"
        return said


def explain(
    point: Point,
    device: Device,
    rates: Rates,
    paths: Mapping[str, Path],
    curves: Sequence[Curve] = (),
    *,
    precision: str = "bfloat16",
) -> Finding:
    """Explain one point with a device's rates. PlanError when the point talks over a path that `paths` lacks."""
    beside = device.runtime_kind != "cpu"
    timing = _timing(point, rates, point_paths(point, paths), curves, beside)
    size = sum(work.bytes for stage in stages(point) for work in stage.work)
    flops = sum(work.flops for stage in stages(point) for work in stage.work)
    if size <= 0:
        raise PlanError(f"{point.name}: moves no bytes; the point cannot be placed on a roofline")
    memory, most, source = device.memory_bytes_per_second, peak(device, precision), "the datasheet"
    if memory is None or most is None:
        memory, most, source = rates.memory_bytes_per_second, rates.flops_per_second, "the measured rates"
    ideal = sum(max(work.bytes / memory, work.flops / most) for stage in stages(point) for work in stage.work)
    return Finding(
        point=point,
        timing=timing,
        ideal_seconds=ideal,
        ideal_source=source,
        intensity_flops_per_byte=flops / size,
        achieved_flops_per_second=flops / point.seconds,
        achieved_bytes_per_second=size / point.seconds,
        tests=tuple(_tests(point, rates, paths, curves, beside, timing.seconds)),
    )


def _timing(point: Point, rates: Rates, groups: Mapping[str, Path], curves: Sequence[Curve], beside: bool) -> Timing:
    parts: list[Part] = []
    for stage in stages(point):
        parts += stage_timing(stage, rates, groups, curves, host_beside=beside).parts
    return Timing(tuple(parts))


def _tests(
    point: Point, rates: Rates, paths: Mapping[str, Path], curves: Sequence[Curve], beside: bool, now: float
) -> list[CounterTest]:
    """Tests that tell the limits apart: each moves one limit and leaves the others."""
    groups = point_paths(point, paths)
    found: list[CounterTest] = []

    def add(name: str, how: str, seconds: float) -> None:
        found.append(CounterTest(name, how, seconds, seconds / now - 1))

    def with_rates(changed: Rates) -> float:
        return _timing(point, changed, groups, curves, beside).seconds

    def with_step(**changes: Any) -> float:
        other = replace(point, step=replace(point.step, **changes))
        return _timing(other, rates, groups, curves, beside).seconds

    if point.step.sequences > 1:
        half = point.step.sequences // 2
        add("half the batch", f"run {half} sequences instead of {point.step.sequences}", with_step(sequences=half))
    twice = point.step.context_tokens * 2
    what = "prompts" if point.step.prefill else "contexts"
    add("twice the context", f"{what} of {twice:.0f} tokens", with_step(context_tokens=twice))
    slower = replace(
        rates,
        flops_per_second=rates.flops_per_second / 2,
        attention_flops_per_second=rates.attention_flops_per_second / 2,
        kernel_seconds=rates.kernel_seconds * 2,
    )
    clock = "lock the cores' clock at half (nvidia-smi -lgc, amd-smi set)" if beside else HALF_PROCESSOR
    add("half the core clock", clock, with_rates(slower))
    if beside:
        busier = replace(
            rates,
            host_seconds=rates.host_seconds * 2,
            sequence_seconds=rates.sequence_seconds * 2,
            launch_seconds=rates.launch_seconds * 2,
            step_seconds=rates.step_seconds * 2,
        )
        add("half the host", HALF_PROCESSOR, with_rates(busier))
    if groups:
        capped = {name: replace(path, bytes_per_second=path.bytes_per_second / 2) for name, path in groups.items()}
        late = {name: replace(path, latency_seconds=path.latency_seconds + 1e-4) for name, path in groups.items()}
        add(
            "half the link",
            "cap it (tc qdisc add dev DEVICE root tbf, or NCCL_MAX_NCHANNELS)",
            _timing(point, rates, capped, _scaled(curves, lambda size, seconds: seconds * 2), beside).seconds,
        )
        add(
            "100 µs more on the link",
            "delay it (tc qdisc add dev DEVICE root netem delay 100us)",
            _timing(point, rates, late, _scaled(curves, lambda size, seconds: seconds + 1e-4), beside).seconds,
        )
    return found


def _scaled(curves: Sequence[Curve], change: Callable[[int, float], float]) -> tuple[Curve, ...]:
    """Measured curves as they would be on another link; halving the rate leaves a small message's time alone."""
    found = []
    for curve in curves:
        first = curve.seconds[0]
        times = []
        for size, seconds in zip(curve.sizes_bytes, curve.seconds, strict=True):
            new = change(size, seconds)
            # Of a doubled time, the latency that the smallest message shows is not doubled.
            times.append(new - first if new == seconds * 2 else new)
        found.append(replace(curve, seconds=tuple(times)))
    return tuple(found)
