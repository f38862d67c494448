"""Latency against load: percentiles of each step with their ranges, and what came within the objectives. Seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.report import requests, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import parts
from experiments.report.html.parts import Block, Chart, Section, Table
from experiments.report.requests import QUANTILES, REQUESTS, Quantile, Requests, StepFigures

NAMES = {0.5: "P50", 0.9: "P90", 0.99: "P99"}
NO_TOP = {"color": "@faint", "formatter": "~number", "showMaxLabel": False}
OBJECTIVES = ("ttft", "itl", "e2el")


def section(files: BundleFiles) -> Section:
    """Two charts and the tables beside them."""
    found = requests.read(files)
    if found is None:
        return Section("latency", "Latency against load", missing=files.why(REQUESTS))
    steps = [step for step in found.steps if step.requests]
    if not steps:
        return Section("latency", "Latency against load", missing=f"{REQUESTS}: nothing but warm-up in it")
    limits = objectives(files.parameters)
    blocks: list[Block] = [
        _chart(steps, "ttft", "Time to first token", limits.get("ttft")),
        _chart(steps, "itl", "Time between tokens", limits.get("itl")),
        _table(found, steps, limits),
    ]
    if len(found.nodes) > 1:
        blocks.append(_by_node(found))
    lead = (
        "Each point is a load step without its warm-up; beside it the range in which its percentile lies with 95 %, "
        "from the number of requests alone."
    )
    return Section("latency", "Latency against load", tuple(blocks), lead=lead)


def objectives(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Service level objectives of the configuration, in seconds."""
    found = {}
    for name in OBJECTIVES:
        value = parameters.get(f"llm_benchmark_slo_{name}_ms")
        if isinstance(value, int | float) and value > 0:
            found[name] = value / 1e3
    return found


def good_share(found: Requests, chosen: requests.Mask, limits: Mapping[str, float]) -> float | None:
    """Share of requests that ended well and within all objectives; None without objectives."""
    if not limits or not chosen.any():
        return None
    within = found.good & chosen
    for name, values in (("ttft", found.ttft), ("itl", found.tpot), ("e2el", found.ended - found.sent)):
        if name in limits:
            within = within & ~(values > limits[name])
    return float(within.sum() / chosen.sum())


def _chart(steps: list[StepFigures], figure: str, title: str, limit: float | None) -> Chart:
    series: list[dict[str, Any]] = []
    for index, share in enumerate(QUANTILES):
        points, bars = [], []
        for step in steps:
            found: Quantile = getattr(step, figure)[share]
            if found.value is None:
                continue
            points.append({"value": parts.rounded([step.rate, found.value * 1e3]), "name": step.name})
            if found.low is not None and found.high is not None:
                bars.append(parts.rounded([step.rate, found.low * 1e3, found.high * 1e3]))
        series.append(
            {
                "name": NAMES[share],
                "type": "line",
                "data": points,
                **parts.look(index),
                "symbolSize": 9,
                "tooltip": {"valueFormatter": "~ms"},
            }
        )
        series.append(
            {
                "name": NAMES[share],
                "type": "custom",
                "renderItem": "~range",
                "data": bars,
                "silent": True,
                "encode": {"x": 0, "y": [1, 2]},
                "itemStyle": {"color": parts.SERIES[index]},
                "tooltip": {"show": False},
                "z": 1,
            }
        )
    if limit is not None:
        label = {"formatter": f"objective {words.seconds(limit)}", "position": "insideStartTop", "color": "@faint"}
        series[0]["markLine"] = {
            "silent": True,
            "symbol": "none",
            "label": label,
            "data": [{"yAxis": limit * 1e3}],
            "lineStyle": {"color": "@faint", "type": "dashed"},
        }
    values = [point["value"][1] for one in series[::2] for point in one["data"] if point["value"][1]]
    spread = max(values, default=1.0) / max(min(values, default=1.0), 1e-9)
    kind: dict[str, Any] = {"type": "log"} if spread > 30 else {}
    if limit is not None and not kind and max(values, default=0.0) < limit * 1e3 < 4 * max(values, default=0.0):
        kind = {"max": parts.rounded([limit * 1.1e3], 2)[0], "axisLabel": NO_TOP}  # so that the objective is seen
    option = parts.base(
        series=series,
        xAxis=parts.across("whole answers a second", min=0),
        yAxis=parts.axis("", "~number", **kind),
        tooltip={**parts.base()["tooltip"], "trigger": "item", "formatter": "~load"},
    )
    return Chart(f"load-{figure}", f"{title}, ms", option, _said(steps, figure, title))


def _said(steps: list[StepFigures], figure: str, title: str) -> str:
    first, last = (getattr(step, figure)[0.5].value for step in (steps[0], steps[-1]))
    begin, end = f"{words.seconds(first)} in step {steps[0].name}", f"{words.seconds(last)} in step {steps[-1].name}"
    return f"{title}: median {begin}, {end}."


def _ranged(found: Quantile) -> str:
    if found.value is None:
        return words.NONE
    low = "?" if found.low is None else words.number(found.low * 1e3)
    high = "?" if found.high is None else words.number(found.high * 1e3)
    return f"{words.number(found.value * 1e3)} ({low} to {high})"


def _table(found: Requests, steps: list[StepFigures], limits: Mapping[str, float]) -> Table:
    head = [
        "step",
        "asked 1/s",
        "got 1/s",
        "in flight",
        "requests",
        "failed",
        "TTFT P50 ms",
        "P99 ms",
        "ITL P50 ms",
        "P99 ms",
        "end to end P50 ms",
        "tokens/s",
    ]
    rows = []
    for step in steps:
        row = [
            step.name,
            words.number(step.target_rate),
            words.number(step.rate),
            words.number(step.in_flight),
            f"{step.requests:,}",
            f"{step.failed:,}",
            _ranged(step.ttft[0.5]),
            _ranged(step.ttft[0.99]),
            _ranged(step.itl[0.5]),
            _ranged(step.itl[0.99]),
            _ranged(step.whole[0.5]),
            words.number(step.output_tokens_per_second),
        ]
        if limits:
            share = good_share(found, (found.step == step.name) & ~found.warm_up, limits)
            row.append(words.percent(share))
        rows.append(row)
    if limits:
        head.append("within objectives")
    return Table(head, rows, "Load steps: figure and its 95 % range")


def _by_node(found: Requests) -> Table:
    rows = []
    for node in found.nodes:
        chosen = (found.node == node) & ~found.warm_up
        step = found.figures(node, chosen)
        replicas = len({str(one) for one in np.array(found.table["replica"].to_pylist(), dtype=object)[chosen] if one})
        rows.append(
            [
                node,
                f"{replicas}",
                f"{step.requests:,}",
                f"{step.failed:,}",
                _ranged(step.ttft[0.5]),
                _ranged(step.ttft[0.99]),
                _ranged(step.itl[0.5]),
                _ranged(step.itl[0.99]),
            ]
        )
    head = ["node", "replicas", "requests", "failed", "TTFT P50 ms", "P99 ms", "ITL P50 ms", "P99 ms"]
    return Table(head, rows, "By node, all steps together")
