"""Compares measurements of measure.py with predictions of the planner that was calibrated on ONE shape.

    python -m benchmarks.h200.compare RESULTS.jsonl [--write NAME] [--one-gpu]

The calibration is fitted to the one shape of shapes.CALIBRATION and to microbenchmarks; no point of another shape is
used, and none over sockets. What that shape costs more on several GPUs of one server is fitted too, unless --one-gpu
says to leave that out. Everything else is predicted, and both numbers stand side by side, misses included.
Exit 0: median error at most 15 % and memory within 5 %. 1: not. 2: the results cannot be read or say too little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import RESULTS
from benchmarks.h200 import shapes
from experiments.report import markdown
from hardware.catalog.h200 import H200
from hardware.model import Node
from hardware.planner import fitting, memory, microbenchmarks, points, rates
from hardware.planner.calibration import Calibration, Outcome, to_json
from hardware.planner.collectives import Path as Link
from hardware.planner.errors import PlanError
from hardware.planner.points import MemoryPoint, Point, Run

TIME_AIM, MEMORY_AIM = 0.15, 0.05
PRECISION = "bfloat16"
DEVICE = rates.device_of(Node("gpu", "compute", "server", "lo", accelerators=(H200,)), H200)
# Only what no curve covers would ever take a rate from these: sizes and operations that were not measured.
PATHS = {"peer": Link("peer", "peer", 5e-6, 300e9), "sockets": Link("sockets", "network", 60e-6, 3e9)}


@dataclass(frozen=True)
class Row:
    """One quantity, measured and predicted."""

    group: str
    what: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Share by which the prediction is off."""
        return self.predicted / self.measured - 1


def is_fitted(point: Point, one_gpu: bool) -> bool:
    """Whether a point is one of those that the calibration is made from."""
    return point.shape in shapes.CALIBRATION and point.path == "peer" and (point.sharding.ranks == 1 or not one_gpu)


def calibrate(run: Run, one_gpu: bool = False) -> tuple[Calibration, fitting.FittedRates]:
    """A calibration from the microbenchmarks and from one shape."""
    mine = [point for point in run.points if is_fitted(point, one_gpu)]
    if not mine:
        raise PlanError(f"no points of {' or '.join(shapes.CALIBRATION)}; run benchmarks.h200.measure first")
    profiles = [entry for entry in run.memory if entry.shape == shapes.CALIBRATION[0]]
    machine = run.machines[-1] if run.machines else {}
    base = microbenchmarks.calibration(
        run.microbenchmarks,
        H200.name,
        f"vllm {machine.get('versions', {}).get('vllm', 'unknown')}",
        str(machine.get("at", "")),
        profiles,
    )
    prior = rates.rates(DEVICE, base, PRECISION, "likely")
    held = microbenchmarks.measured_names(base, PRECISION)
    fitted = fitting.fit_rates(mine, prior, held, PATHS, base.curves)
    return fitting.calibrated(base, fitted, PRECISION), fitted


def time_rows(run: Run, known: Calibration, one_gpu: bool = False) -> list[Row]:
    """Every point that was not fitted."""
    achieved = rates.rates(DEVICE, known, PRECISION, "likely")
    rows = []
    for point in run.points:
        if is_fitted(point, one_gpu):
            continue
        predicted = fitting.predict_point(point, achieved, PATHS, known.curves, host_beside=True)
        rows.append(Row(_group(point), point.name, point.seconds, predicted))
    return rows


def _group(point: Point | MemoryPoint) -> str:
    over = f" over {point.path}" if point.sharding.ranks > 1 else ""
    return f"{point.shape} {point.sharding}{over}"


def memory_rows(run: Run, known: Calibration) -> list[Row]:
    """Weights and tokens of cache of every engine but those whose profiles were used."""
    rows = []
    for entry in run.memory:
        if entry.shape in shapes.CALIBRATION and entry.path == "peer":
            continue
        ranks = [
            memory.rank_memory(entry.model, entry.sharding, stage, DEVICE, entry.options, known)
            for stage in range(entry.sharding.pipeline)
        ]
        fullest = max(ranks, key=lambda rank: rank.weights_bytes)
        tokens = min(rank.kv_tokens for rank in ranks)
        rows.append(Row(_group(entry), "weights, bytes", entry.weights_bytes, fullest.weights_bytes))
        rows.append(Row(_group(entry), "cache, tokens", entry.kv_tokens, tokens))
    return rows


def groups_table(rows: Sequence[Row]) -> str:
    """Medians and worst misses, a line a group."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        worst = max(mine, key=lambda row: abs(row.error))
        for phase in ("decode", "prefill"):
            errors = [abs(row.error) for row in mine if f": {phase}" in row.what]
            if errors:
                lines.append(
                    [f"{group}, {phase}", str(len(errors)), percent(statistics.median(errors)), percent(max(errors))]
                )
        if not any(f": {phase}" in row.what for row in mine for phase in ("decode", "prefill")):
            lines.append(
                [
                    group,
                    str(len(mine)),
                    percent(statistics.median(abs(r.error) for r in mine)),
                    percent(abs(worst.error)),
                ]
            )
    return markdown.table(("shape and placement", "points", "median error", "largest"), lines)


def points_table(rows: Iterable[Row], unit: str, scale: float) -> str:
    """Every row: measured, predicted, error."""
    return markdown.table(
        ("what", f"measured, {unit}", f"predicted, {unit}", "error"),
        [[row.what, f"{row.measured * scale:.3f}", f"{row.predicted * scale:.3f}", signed(row.error)] for row in rows],
    )


def percent(value: float) -> str:
    """0.123 as 12.3 %."""
    return f"{value * 100:.1f} %"


def signed(value: float) -> str:
    """The same with its sign."""
    return f"{value * 100:+.1f} %"


def report(
    run: Run, known: Calibration, fitted: fitting.FittedRates, times: Sequence[Row], sizes: Sequence[Row]
) -> str:
    """The whole comparison as Markdown."""
    machine = run.machines[-1] if run.machines else {}
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items() if version)
    cards = machine.get("cards") or ["unknown GPUs"]
    found = [(name, getattr(fitted.rates, name)) for name in fitted.rates.__dataclass_fields__]
    achieved = [[name, f"{value:.4g}"] for name, value in found if value is not None]
    misses = [row for row in times if abs(row.error) > TIME_AIM]
    failures = [f"- {entry.get('step')}: {entry.get('what')}: {entry.get('error')}" for entry in run.failures]
    parts = [
        "# Predicted and measured, NVIDIA H200",
        f"{len(cards)} x {cards[0]}; {machine.get('cores', '?')} cores, kernel {machine.get('kernel', '?')}; "
        f"{versions}. {machine.get('at', '')}. Random weights. Calibrated on {len(fitted.outcomes)} points of "
        f"{shapes.CALIBRATION[0]} (whole and with 4 layers) and on microbenchmarks; everything else is predicted.",
        f"Time: median error {percent(statistics.median(abs(row.error) for row in times))} over {len(times)} points, "
        f"{len(misses)} off by more than {percent(TIME_AIM)}. On the fitted points: {percent(fitted.median_error)}.",
    ]
    if sizes:
        parts.append(
            f"Memory: median error {percent(statistics.median(abs(row.error) for row in sizes))}, largest "
            f"{percent(max(abs(row.error) for row in sizes))} over {len(sizes)} figures."
        )
    parts += [
        "## By shape and placement",
        groups_table(times),
        "## What was fitted",
        markdown.table(("rate", "value"), achieved),
    ]
    if sizes:
        named = [Row(row.group, f"{row.group}: {row.what}", row.measured, row.predicted) for row in sizes]
        parts += ["## Memory", points_table(named, "as named", 1.0)]
    parts += ["## Every point", points_table(times, "ms", 1e3)]
    if failures:
        parts += ["## What did not run", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", default="", help="name of the report and calibration in benchmarks/results/")
    parser.add_argument("--one-gpu", action="store_true", help="fit to points of one GPU only")
    options = parser.parse_args(arguments)
    try:
        lines = options.results.read_text().splitlines(keepends=True)
        run = points.read(lines, options.results.name)
        known, fitted = calibrate(run, options.one_gpu)
        times, sizes = time_rows(run, known, options.one_gpu), memory_rows(run, known)
        if not times:
            raise PlanError(f"{options.results.name}: no points but those of the calibration; nothing to compare")
    except OSError as error:
        print(f"compare: {options.results}: {error.strerror}", file=sys.stderr)
        return 2
    except PlanError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    text = report(run, known, fitted, times, sizes)
    print(text)
    known = known.with_outcomes(tuple(Outcome(row.what, row.predicted, row.measured) for row in times))
    if options.write:
        (RESULTS / f"{options.write}.md").write_text(text)
        (RESULTS / f"{options.write}-calibration.json").write_text(to_json(known))
        (RESULTS / f"{options.write}.jsonl").write_text("".join(lines))
    good = statistics.median(abs(row.error) for row in times) <= TIME_AIM
    fits = all(abs(row.error) <= MEMORY_AIM for row in sizes)
    summary = {"time_median_error": statistics.median(abs(row.error) for row in times), "memory_within_aim": fits}
    print(json.dumps(summary), file=sys.stderr)
    return 0 if good and fits else 1


if __name__ == "__main__":
    sys.exit(main())
