"""Heat by node: one figure at a time, nodes down and time across, so that the odd one out is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.causes.signals import BY_NAME
from experiments.report import requests, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import parts
from experiments.report.html.parts import Block, Chart, Section, Table
from experiments.report.html.timeline import Seen
from experiments.report.requests import REQUESTS, Floats, Requests

CELLS = 60
# What is worth a picture, and how it is written.
SHOWN = {
    "cpu_busy": "~percent",
    "cpu_waiting": "~number",
    "memory_available": "~percent",
    "disk_busy": "~percent",
    "gpu_busy": "~percent",
    "gpu_memory": "~bytes",
    "rtt": "~ms",
    "retransmits": "~rate",
    "itl": "~seconds",
    "running": "~count",
    "kv_cache": "~percent",
}


def section(files: BundleFiles, seen: Seen | None) -> Section:
    """A chart with a choice of figures, and each node's middle and worst in a table."""
    found = requests.read(files)
    if found is None and seen is None:
        return Section("heat", "Heat by node", missing=files.why(REQUESTS, "metrics/metrics.parquet"))
    began = files.origin if files.origin is not None else float(seen.at[0]) if seen is not None else 0.0
    ends = [float(np.nanmax(found.ended))] if found is not None else []
    ends += [float(seen.at[-1])] if seen is not None and not ends else []
    edges = np.linspace(began, max(ends) + 1e-6, CELLS + 1)
    figures: dict[str, tuple[str, str, Mapping[str, Floats]]] = {}
    if found is not None and found.nodes:
        figures |= _of_requests(found, edges)
    if seen is not None:
        figures |= _of_signals(seen, edges)
    if not figures:
        return Section("heat", "Heat by node", missing="no figure says which node it is of")
    nodes = sorted({node for _, _, values in figures.values() for node in values})
    clock = [words.after(float(at), began) for at in edges[:-1]]
    choices = [
        (title, _option(sorted(values), values, formatter, title, clock))
        for title, formatter, values in figures.values()
    ]
    first = choices[0]
    said = f"{first[0]} of {words.listed(nodes)} over time; the table has the figures."
    height = 90 + 44 * len(nodes) + 60
    blocks: list[Block] = [
        Chart("heat-nodes", "Figure", first[1], said, height, choices=choices),
        _table(nodes, figures),
    ]
    return Section(
        "heat",
        "Heat by node",
        tuple(blocks),
        lead="The bar below says which colour is how much. A gap is a time from which nothing came.",
    )


def _of_requests(found: Requests, edges: Floats) -> dict[str, tuple[str, str, Mapping[str, Floats]]]:
    ttft, failed = {}, {}
    for node in found.nodes:
        of_node = found.node == node
        good = of_node & found.good
        ttft[node] = 1e3 * requests.binned(found.sent[good], found.ttft[good], edges)
        failed[node] = np.histogram(found.ended[of_node & found.failed], edges)[0].astype(np.float64)
    figures: dict[str, tuple[str, str, Mapping[str, Floats]]] = {
        "ttft_of_requests": ("time to first token, ms", "~ms", ttft)
    }
    if any(values.any() for values in failed.values()):
        figures["failed"] = ("failed requests", "~count", failed)
    return figures


def _of_signals(seen: Seen, edges: Floats) -> dict[str, tuple[str, str, Mapping[str, Floats]]]:
    figures: dict[str, tuple[str, str, Mapping[str, Floats]]] = {}
    for name, formatter in SHOWN.items():
        values = {}
        for node, signals in seen.signals.items():
            if name in signals and np.isfinite(signals[name]).any():
                values[node] = requests.binned(seen.at, signals[name], edges)
        if values:
            figures[name] = (f"{BY_NAME[name].words}", formatter, values)
    return figures


def _option(
    nodes: list[str], values: Mapping[str, Floats], formatter: str, name: str, clock: list[str]
) -> dict[str, Any]:
    cells: list[list[Any]] = []
    for row, node in enumerate(nodes):
        for column, value in enumerate(values.get(node, np.empty(0))):
            if np.isfinite(value):
                cells.append([column, row, *parts.rounded([float(value)], 4), clock[column], node])
    figures = [cell[2] for cell in cells if cell[2] is not None]
    least, most = min(figures, default=0.0), max(figures, default=1.0)
    common = {"axisTick": {"show": False}, "axisLine": {"lineStyle": {"color": "@edge"}}}
    return parts.base(
        grid={"left": 8, "right": 16, "top": 14, "bottom": 66, "containLabel": True},
        legend={"show": False},
        tooltip={**parts.base()["tooltip"], "trigger": "item", "formatter": "~cell"},
        xAxis={"type": "category", "data": clock, "axisLabel": {"color": "@faint", "hideOverlap": True}, **common},
        yAxis={"type": "category", "data": nodes, "inverse": True, "axisLabel": {"color": "@text"}, **common},
        visualMap={
            "min": least,
            "max": most if most > least else least + 1,
            "dimension": 2,
            "calculable": True,
            "orient": "horizontal",
            "left": "center",
            "bottom": 8,
            "itemHeight": 160,
            "itemWidth": 14,
            "formatter": formatter,
            "textStyle": {"color": "@text"},
            "inRange": {"color": ["@heat0", "@heat1", "@heat2", "@heat3"]},
        },
        series=[
            {"type": "heatmap", "name": name, "data": cells, "itemStyle": {"borderColor": "@card", "borderWidth": 1}}
        ],
    )


def _table(nodes: list[str], figures: Mapping[str, tuple[str, str, Mapping[str, Floats]]]) -> Table:
    rows = []
    for name, formatter, values in figures.values():
        for node in nodes:
            if node not in values or not np.isfinite(values[node]).any():
                continue
            there = values[node][np.isfinite(values[node])]
            how = {"~percent": words.percent, "~bytes": words.size, "~seconds": words.seconds}.get(
                formatter, words.number
            )
            rows.append([name, node, how(float(np.median(there))), how(float(there.min())), how(float(there.max()))])
    head = ["figure", "node", "middle", "least", "most"]
    return Table(head, rows, "The same in figures", frozenset({0, 1}), folded=True)
