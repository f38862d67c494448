"""Telemetry as the one table that other methods of root causes take: a row a second, a column a node and signal. Pure.

Values are those of `signals`, which is more than the methods' own papers give them: raw counters would only rise. What
was not seen at a moment takes the last value, and the first one before that: these methods know no gaps.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from experiments.causes import signals
from experiments.causes.telemetry import Floats, Telemetry

SEPARATOR = "_"
SAME = 0.9999
# One figure a resource, as the methods' papers have them: for what inverts the correlations of all columns, of which
# there may then be fewer than rows only.
FEW = ("cpu_busy", "memory_available", "disk_busy", "gpu_busy", "rtt", "retransmits", "itl", "engine_silent")


def table(seen: Telemetry, chosen: Collection[str] = ()) -> tuple[list[str], Floats]:
    """(column names with `time` first, rows by columns), of some signals or of all.

    A signal that never changes is left out, and so is one that says the same as an earlier one of its node.
    """
    at, found = signals.observed(seen)
    names, columns = ["time"], [at]
    for node in sorted(found):
        for name, values in sorted(found[node].items()):
            filled = _filled(values)
            if filled is None or float(np.ptp(filled)) <= 0 or (chosen and name not in chosen):
                continue
            mine = (
                column for known, column in zip(names, columns, strict=True) if known.startswith(f"{node}{SEPARATOR}")
            )
            if all(abs(float(np.corrcoef(filled, column)[0, 1])) < SAME for column in mine):
                names.append(f"{node}{SEPARATOR}{name}")
                columns.append(filled)
    return names, np.stack(columns, axis=1)


def cause_of(column: str, nodes: tuple[str, ...]) -> tuple[str, str]:
    """(node, signal) of a column; a node's name may have the separator in it."""
    for node in sorted(nodes, key=len, reverse=True):
        if column.startswith(f"{node}{SEPARATOR}"):
            return node, column[len(node) + 1 :]
    return column, ""


# The kind that a method means which puts this signal first.
KIND_OF_SIGNAL = {
    "cpu_busy": "cpu",
    "cpu_waiting": "cpu",
    "memory_available": "memory",
    "memory_waiting": "memory",
    "major_faults": "memory",
    "swapping": "memory",
    "disk_busy": "disk",
    "disk_waiting": "disk",
    "disk_bytes": "disk",
    "disk_free": "disk",
    "gpu_busy": "gpu",
    "gpu_memory": "gpu",
    "gpu_clock": "gpu",
    "gpu_power": "gpu",
    "gpu_errors": "gpu",
    "gpu_lost": "gpu",
    "other_cpu": "cpu",
    "engine_cpu": "cpu",
    "stopped": "process-freeze",
    "rtt": "network-delay",
    "rtt_floor": "network-delay",
    "retransmits": "network-loss",
    "delivery": "network-rate",
    "flow_bytes": "network-rate",
    "flows_silent": "network-partition",
    "engine_silent": "process-freeze",
    "node_silent": "host",
    "clock_offset": "clock",
}


def _filled(values: Floats) -> Floats | None:
    there = np.flatnonzero(np.isfinite(values))
    if not there.size:
        return None
    place = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.size), there[0]))
    return np.asarray(values[np.maximum(place, there[0])], dtype=np.float64)
