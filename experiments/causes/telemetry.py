"""A bundle's telemetry as series by node: metrics, flows and log lines. Reads metrics/, flows/ and logs/ only.

Times are unix seconds of the controller's clock. A file that is missing is an empty part; one that cannot be read is an
ExperimentError that names it. What was injected is in results/, which nothing in this package reads but `labels`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.errors import ExperimentError

Floats = npt.NDArray[np.float64]

METRICS, FLOWS, LOGS = "metrics/metrics.parquet", "flows/flows.parquet", "logs/logs.parquet"
METRIC_COLUMNS = ("at", "node", "name", "labels", "value")
FLOW_COLUMNS = ("at", "node", "peer", "protocol", "rtt_ms", "retransmits", "delivery_bytes_per_second", "bytes")
LOG_COLUMNS = ("at", "node", "unit", "replica", "message")


@dataclass(frozen=True)
class Series:
    """One metric with one set of labels on one node: times ascending, as many values."""

    labels: Mapping[str, str]
    times: Floats
    values: Floats


@dataclass(frozen=True)
class Flow:
    """What one node saw of its connections to one peer, sample by sample; NaN where a figure was not read."""

    node: str
    peer: str
    times: Floats
    rtt_ms: Floats
    retransmits: Floats
    delivery_bytes_per_second: Floats
    bytes: Floats


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    at: float
    node: str
    unit: str
    message: str


@dataclass(frozen=True)
class Telemetry:
    """All that was seen of a run. `metrics` by node and name."""

    metrics: Mapping[str, Mapping[str, Sequence[Series]]]
    flows: Sequence[Flow] = ()
    lines: Sequence[Line] = ()
    nodes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(sorted(set(self.metrics) | {flow.node for flow in self.flows})))

    @cached_property
    def span(self) -> tuple[float, float]:
        """First and last sample; ExperimentError when there is none."""
        times = [series.times for node in self.metrics.values() for every in node.values() for series in every]
        times += [flow.times for flow in self.flows]
        times = [every for every in times if every.size]
        if not times:
            raise ExperimentError(f"no telemetry: {METRICS} and {FLOWS} are empty; collect it with the run")
        return min(float(every[0]) for every in times), max(float(every[-1]) for every in times)

    @cached_property
    def interval_seconds(self) -> float:
        """How far apart samples are: the median over all series with ten samples or more; 10 where there are few."""
        gaps = [
            float(np.median(np.diff(series.times)))
            for node in self.metrics.values()
            for every in node.values()
            for series in every
            if series.times.size >= 10
        ]
        return min(60.0, max(0.5, float(np.median(gaps)))) if gaps else 10.0

    def named(self, node: str, names: Iterable[str]) -> Iterator[Series]:
        """Every series of a node that has one of these names."""
        found = self.metrics.get(node, {})
        for name in names:
            yield from found.get(name, ())


def read(directory: Path) -> Telemetry:
    """The telemetry of a bundle. ExperimentError where there is none, or it cannot be read."""
    if not directory.is_dir():
        raise ExperimentError(f"{directory}: no such directory; give a bundle (fetched/EXPERIMENT-ID)")
    metrics = _table(directory / METRICS, METRIC_COLUMNS)
    flows = _table(directory / FLOWS, FLOW_COLUMNS)
    logs = _table(directory / LOGS, LOG_COLUMNS)
    if metrics is None and flows is None:
        raise ExperimentError(f"{directory}: neither {METRICS} nor {FLOWS}; run with --tags collect-telemetry-data")
    return of_tables(metrics, flows, logs)


def of_tables(metrics: pa.Table | None, flows: pa.Table | None = None, logs: pa.Table | None = None) -> Telemetry:
    """The same of tables in the bundle's columns."""
    return Telemetry(_metrics(metrics), tuple(_flows(flows)), tuple(_lines(logs)))


def _table(path: Path, columns: Sequence[str]) -> pa.Table | None:
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ExperimentError(f"{path}: cannot be read ({str(error).splitlines()[0]}); collect it again") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ExperimentError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(list(columns))


def _groups(keys: Sequence[pa.ChunkedArray], order: Floats) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.intp]]]:
    """Rows by equal keys, in each group by time."""
    encoded = [key.combine_chunks().dictionary_encode() for key in keys]
    codes = [np.asarray(one.indices.fill_null(-1), dtype=np.int64) for one in encoded]
    if not codes[0].size:
        return
    rows = np.lexsort((order, *reversed(codes)))
    stacked = np.stack([code[rows] for code in codes])
    starts = np.flatnonzero(np.r_[True, np.any(np.diff(stacked, axis=1) != 0, axis=0)])
    for first, last in zip(starts, [*starts[1:], rows.size], strict=True):
        names = tuple(
            str(one.dictionary[int(code[first])].as_py()) if code[first] >= 0 else ""
            for one, code in zip(encoded, stacked, strict=True)
        )
        yield names, rows[first:last]


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).fill_null(math.nan), dtype=np.float64)


def _metrics(table: pa.Table | None) -> dict[str, dict[str, list[Series]]]:
    found: dict[str, dict[str, list[Series]]] = {}
    if table is None or not table.num_rows:
        return found
    times, values = _floats(table["at"]), _floats(table["value"])
    for (node, name, labels), rows in _groups([table["node"], table["name"], table["labels"]], times):
        kept = rows[np.isfinite(times[rows]) & np.isfinite(values[rows])]
        if kept.size and node:
            series = Series(_labels(labels), times[kept], values[kept])
            found.setdefault(node, {}).setdefault(name, []).append(series)
    return found


def _labels(text: str) -> dict[str, str]:
    try:
        said: Any = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else {}


def _flows(table: pa.Table | None) -> Iterator[Flow]:
    if table is None or not table.num_rows:
        return
    times = _floats(table["at"])
    figures = [_floats(table[name]) for name in FLOW_COLUMNS[4:]]
    for (node, peer), rows in _groups([table["node"], table["peer"]], times):
        yield Flow(node, peer, times[rows], *(figure[rows] for figure in figures))


def _lines(table: pa.Table | None) -> Iterator[Line]:
    if table is None:
        return
    for row in table.sort_by("at").to_pylist():
        if row["at"] is not None:
            yield Line(float(row["at"]), str(row["node"]), str(row["unit"] or ""), str(row["message"] or ""))
