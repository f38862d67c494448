"""Turns microbenchmarks into a calibration, and a calibration into the prior of a fit. Pure; bytes, FLOPs, seconds.

Records are those of `points.Run.microbenchmarks`: `memory size` (bytes), `memory copy` and `memory read`
(bytes_per_second), `matrices` and `matrices of few rows` (dtype, shape, flops_per_second), `experts` (bytes_per_second
and flops_per_second by tokens), `collective` (a curve).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hardware.planner.calibration import Calibration
from hardware.planner.collectives import Curve
from hardware.planner.errors import PlanError
from hardware.planner.points import MemoryPoint


def calibration(
    records: Iterable[Mapping[str, Any]], hardware: str, engine: str, made: str = "", memory: Iterable[MemoryPoint] = ()
) -> Calibration:
    """What the records say, taking the best of repeated measurements; what nothing says stays None.

    `memory` are profiles of engines of one shape: the runtime's own bytes come from those on one rank, and what a
    communicator adds from those on several. PlanError for a record that lacks its fields.
    """
    rates: dict[str, float] = {}
    flops: dict[str, float] = {}
    few: dict[str, float] = {}
    curves: dict[tuple[str, int, str], Curve] = {}
    for record in records:
        try:
            name = record["name"]
            if name in ("memory copy", "memory read"):
                rates["memory"] = max(rates.get("memory", 0.0), float(record["bytes_per_second"]))
            elif name == "memory size":
                rates["size"] = float(record["bytes"])
            elif name == "experts":
                rates["experts"] = max(rates.get("experts", 0.0), float(record["bytes_per_second"]))
                if "flops_per_second" in record:
                    reached = float(record["flops_per_second"])
                    rates["expert flops"] = max(rates.get("expert flops", 0.0), reached)
            elif name == "matrices":
                dtype = str(record["dtype"])
                flops[dtype] = max(flops.get(dtype, 0.0), float(record["flops_per_second"]))
            elif name == "matrices of few rows":
                dtype = str(record["dtype"])
                few[dtype] = max(few.get(dtype, 0.0), float(record["flops_per_second"]))
            elif name == "collective":
                curve = _curve(record["curve"])
                key = (curve.operation, curve.ranks, curve.path)
                # The captured one is what decoding has; without it the other.
                if key not in curves or record.get("graphed"):
                    curves[key] = curve
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"{record.get('_where', 'microbenchmark')}: {error}") from None
    alone = [entry for entry in memory if entry.sharding.ranks == 1]
    several = [entry for entry in memory if entry.sharding.ranks > 1]
    context = max((entry.other_bytes for entry in alone), default=None)
    return Calibration(
        hardware=hardware,
        engine=engine,
        made=made,
        memory_bytes=max((entry.memory_bytes for entry in memory), default=rates.get("size")),
        memory_bytes_per_second=rates.get("memory"),
        expert_bytes_per_second=rates.get("experts"),
        expert_flops_per_second=rates.get("expert flops"),
        flops_per_second=tuple(sorted(flops.items())),
        few_rows_flops_per_second=tuple(sorted(few.items())),
        context_bytes=context,
        graph_bytes=max((entry.graph_bytes for entry in alone), default=None),
        communicator_bytes=None
        if context is None or not several
        else max(0.0, sum(entry.other_bytes for entry in several) / len(several) - context),
        curves=tuple(curves.values()),
    )


def measured_names(known: Calibration, precision: str) -> tuple[str, ...]:
    """Names of the values that `fit` should hold tightly, because a microbenchmark gave them."""
    found = []
    if known.memory_bytes_per_second is not None:
        found.append("memory")
    if known.expert_bytes_per_second is not None:
        found.append("experts")
    if known.flops(precision) is not None:
        found.append("flops")
    if known.few_rows_flops(precision) is not None:
        found.append("few rows flops")
    return tuple(found)


def _curve(entry: Mapping[str, Any]) -> Curve:
    return Curve(
        operation=entry["operation"],
        ranks=int(entry["ranks"]),
        path=str(entry["path"]),
        sizes_bytes=tuple(int(size) for size in entry["sizes_bytes"]),
        seconds=tuple(float(value) for value in entry["seconds"]),
    )
