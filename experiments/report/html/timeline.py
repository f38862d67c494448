"""What happened when: latency, answers and load of each node on one axis of time, with the faults' windows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.causes.signals import Signals
from experiments.report import requests, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import parts
from experiments.report.html.parts import Block, Chart, Section, Table
from experiments.report.requests import REQUESTS, Floats, Requests

MOST_POINTS = 400
FEW_POINTS = 60
PANEL, GAP, TOP = 118, 52, 64
PANELS = (
    ("running", "requests that run"),
    ("waiting", "requests that wait"),
    ("kv_cache", "KV cache in use"),
    ("cpu_busy", "processor busy"),
)


@dataclass(frozen=True)
class Seen:
    """Signals by node on one grid of times; empty where no metrics were collected."""

    at: Floats
    signals: Signals


@dataclass(frozen=True)
class _Line:
    name: str
    x: Sequence[float | None]
    y: Sequence[float | None]
    kind: str = "line"


def section(files: BundleFiles, seen: Seen | None) -> Section:
    """One chart of several panels, and a table of the faults."""
    found = requests.read(files)
    if found is None and seen is None:
        return Section("timeline", "Timeline", missing=files.why(REQUESTS, "metrics/metrics.parquet"))
    origin = files.origin or (float(seen.at[0]) if seen is not None else 0.0)
    panels: list[tuple[str, str, list[_Line]]] = []
    if found is not None:
        panels += _of_requests(found, origin)
    if seen is not None:
        panels += _of_signals(seen, origin)
    names = sorted({line.name for _, _, lines in panels for line in lines}, key=_order)
    option = _option(panels, names, files.faults or (), _steps(found, origin), origin)
    windows = words.counted(len(files.faults or ()), "fault window")
    said = f"{len(panels)} panels over time: {words.listed([title for title, _, _ in panels])}; {windows}."
    height = TOP + len(panels) * (PANEL + GAP) + 40
    blocks: list[Block] = [Chart("timeline-all", "All on one axis of time", option, said, height)]
    if files.faults:
        blocks.append(_faults(files.faults, origin))
    elif files.faults is None:
        blocks.append(parts.Text(files.why("results/faults.json"), "idle"))
    if found is not None:
        blocks.append(_minutes(found, origin))
    return Section(
        "timeline", "Timeline", tuple(blocks), lead="Time counts from the first request, in minutes:seconds."
    )


def thinned(at: Floats, values: Floats, most: int = MOST_POINTS) -> tuple[list[float | None], list[float | None]]:
    """At most so many points: of each stretch its least and its most, in their order, so that no peak is lost."""
    if values.size <= most:
        return parts.rounded(list(at), 7), parts.rounded(list(values))
    kept: list[int] = []
    for piece in np.array_split(np.arange(values.size), most // 2):
        there = piece[np.isfinite(values[piece])]
        if not there.size:
            kept.append(int(piece[0]))
            continue
        ends = {int(there[np.argmin(values[there])]), int(there[np.argmax(values[there])])}
        kept += sorted(ends)
    return parts.rounded([float(at[place]) for place in kept], 7), parts.rounded(
        [float(values[place]) for place in kept]
    )


def _order(name: str) -> tuple[int, str]:
    return (1 if name == "failed" else 0, name)


def _of_requests(found: Requests, origin: float) -> list[tuple[str, str, list[_Line]]]:
    ended = float(np.nanmax(found.ended))
    width = max(1.0, (ended - origin) / 200)
    edges = np.arange(origin, ended + width, width)
    middle = (edges[:-1] + edges[1:]) / 2 - origin
    nodes = found.nodes or ("",)
    ttft, answers, flight = [], [], []
    for node in nodes:
        of_node = found.node == node
        good = of_node & found.good
        name = node or "all"
        ttft.append(_Line(name, *thinned(middle, 1e3 * requests.binned(found.sent[good], found.ttft[good], edges))))
        counts = np.histogram(found.ended[good], edges)[0] / width
        answers.append(_Line(name, *thinned(middle, counts)))
        under_way = requests.in_flight(found.sent[of_node], found.ended[of_node], edges[:-1])
        flight.append(_Line(name, *thinned(middle, under_way)))
    failed = np.histogram(found.ended[found.failed], edges)[0] / width
    answers.append(_Line("failed", *thinned(middle, failed), kind="bar"))
    panels = [
        ("time to first token, ms (median)", "~ms", ttft),
        ("whole answers a second; bars: failed", "~rate", answers),
    ]
    return [*panels, ("requests in flight", "~count", flight)]


def _of_signals(seen: Seen, origin: float) -> list[tuple[str, str, list[_Line]]]:
    panels = []
    for name, title in PANELS:
        lines = []
        for node, values in sorted(seen.signals.items()):
            if name in values and np.isfinite(values[name]).any():
                lines.append(_Line(node, *thinned(seen.at - origin, values[name])))
        if lines:
            panels.append((title, "~percent" if name in ("kv_cache", "cpu_busy") else "~count", lines))
    return panels


def _option(
    panels: Sequence[tuple[str, str, Sequence[_Line]]],
    names: Sequence[str],
    faults: Sequence[Mapping[str, Any]],
    steps: Sequence[tuple[str, float]],
    origin: float,
) -> dict[str, Any]:
    grids, across, up, series = [], [], [], []
    times = [x for _, _, lines in panels for line in lines for x in line.x if x is not None]
    ends = {"min": 0 if min(times, default=0) > -5 else min(times), "max": max(times, default=1)}
    for index, (title, formatter, lines) in enumerate(panels):
        last = index == len(panels) - 1
        grids.append({"left": 56, "right": 18, "top": TOP + index * (PANEL + GAP) + 16, "height": PANEL})
        label = {"show": last, "color": "@faint", "formatter": "~clock", "hideOverlap": True}
        across.append(
            {
                "type": "value",
                "gridIndex": index,
                **ends,
                "axisLabel": label,
                "splitLine": {"show": False},
                "axisLine": {"lineStyle": {"color": "@edge"}},
                "axisTick": {"show": last},
                "axisPointer": {"label": {"show": last, "formatter": "~pointer"}},
            }
        )
        whole = {"max": 1, "interval": 0.5} if formatter == "~percent" else {}
        name = {"nameGap": 26} if index == 0 else {}  # above the names of the load steps
        up.append(parts.axis(title, formatter, gridIndex=index, splitNumber=3, min=0, **whole, **name))
        for line in lines:
            place = names.index(line.name)
            look = (
                parts.look(place)
                if line.kind == "line"
                else {"itemStyle": {"color": "@bad", "decal": {"symbol": "rect"}}}
            )
            series.append(
                {
                    "name": line.name,
                    "type": line.kind,
                    "xAxisIndex": index,
                    "yAxisIndex": index,
                    **look,
                    "data": [list(pair) for pair in zip(line.x, line.y, strict=True)],
                    "showSymbol": _few(line.y),
                    "connectNulls": False,
                    "tooltip": {"valueFormatter": formatter},
                    "barWidth": 3,
                }
            )
        series.append(_windows(index, faults, steps, origin, ends["max"]))
    return parts.base(
        grid=grids,
        xAxis=across,
        yAxis=up,
        series=series,
        axisPointer={"link": [{"xAxisIndex": "all"}], "lineStyle": {"color": "@faint"}},
        legend={**parts.base()["legend"], "data": list(names)},
        dataZoom=[
            {
                "type": "slider",
                "xAxisIndex": list(range(len(panels))),
                "bottom": 4,
                "height": 20,
                "showDetail": False,
                "borderColor": "@edge",
                "fillerColor": "@filler",
                "handleStyle": {"color": "@accent"},
                "brushSelect": False,
                "dataBackground": {"lineStyle": {"opacity": 0}, "areaStyle": {"opacity": 0}},
                "moveHandleStyle": {"color": "@edge"},
            }
        ],
    )


def _windows(
    index: int, faults: Sequence[Mapping[str, Any]], steps: Sequence[tuple[str, float]], origin: float, last: float
) -> dict[str, Any]:
    """Bands for faults and lines for the begin of load steps; their names stand on the first panel alone."""
    areas = []
    for number, fault in enumerate(faults):
        began = float(fault.get("took_effect") or fault["began"]) - origin
        ended = fault.get("healed") or fault.get("healed_asked")
        nodes = ", ".join(str(node) for node in fault.get("nodes", ()))
        name = letter(number) if len(faults) > 3 else f"{letter(number)}: {fault.get('name', '')} {nodes}".strip()
        label = {
            "show": index == 0,
            "position": "insideTop",
            "color": "@text",
            "distance": 4 + 15 * (number % 2),
            "fontSize": 11.5,
            "overflow": "none",
        }
        start = {"xAxis": round(began, 2), "name": name, "label": label}
        areas.append([start, {"xAxis": round(float(ended) - origin if ended is not None else last, 2)}])
    lines = [
        {
            "xAxis": round(at, 2),
            "name": name,
            "label": {"show": index == 0, "formatter": "{b}", "color": "@faint", "align": "left", "distance": 3},
        }
        for name, at in steps
    ]
    return {
        "type": "line",
        "xAxisIndex": index,
        "yAxisIndex": index,
        "data": [],
        "silent": True,
        "markArea": {
            "silent": True,
            "data": areas,
            "itemStyle": {"color": "@window", "borderColor": "@bad", "borderWidth": 1, "borderType": "dashed"},
        },
        "markLine": {
            "silent": True,
            "symbol": "none",
            "data": lines,
            "lineStyle": {"color": "@edge", "type": "dotted", "width": 1.5},
        },
    }


def _few(values: Sequence[float | None]) -> bool:
    """Whether so few points are there that a line may have none to join."""
    return sum(value is not None for value in values) <= FEW_POINTS


def letter(number: int) -> str:
    """A, B, ... Z, A1, ...: what a fault is called in the chart and in the table."""
    return chr(65 + number % 26) + (str(number // 26) if number >= 26 else "")


def _steps(found: Requests | None, origin: float) -> list[tuple[str, float]]:
    if found is None:
        return []
    first: dict[str, float] = {}
    for name, sent in zip(found.step, found.sent, strict=True):
        first.setdefault(str(name), float(sent))
    return [(name, at - origin) for name, at in first.items()] if len(first) <= 12 else []


def _faults(faults: Sequence[Mapping[str, Any]], origin: float) -> Table:
    head = ["", "fault", "layer", "nodes", "asked", "in effect", "healed", "lasted", "healed by", "detail"]
    rows = []
    for number, one in enumerate(faults):
        effect, healed = one.get("took_effect"), one.get("healed")
        lasted = healed - effect if isinstance(effect, int | float) and isinstance(healed, int | float) else None
        rows.append(
            [
                letter(number),
                str(one.get("name", "")),
                str(one.get("layer", "")),
                ", ".join(str(node) for node in one.get("nodes", ())),
                words.after(one.get("began"), origin),
                words.after(effect, origin),
                words.after(healed, origin),
                words.seconds(lasted),
                str(one.get("healed_by") or ""),
                str(one.get("detail") or ""),
            ]
        )
    return Table(head, rows, "Faults that were injected", frozenset({0, 1, 2, 3, 8, 9}))


def _minutes(found: Requests, origin: float) -> Table:
    """The chart in figures: twelve stretches of time."""
    edges = np.linspace(origin, float(np.nanmax(found.ended)) + 1e-6, 13)
    rows = []
    for began, ended in itertools.pairwise(edges):
        inside = (found.ended >= began) & (found.ended < ended)
        good, span = inside & found.good, ended - began
        middle = requests.quantile(np.sort(found.ttft[good][np.isfinite(found.ttft[good])]), 0.5).value
        most = requests.quantile(np.sort(found.ttft[good][np.isfinite(found.ttft[good])]), 0.99).value
        rows.append(
            [
                f"{words.after(began, origin)} to {words.after(ended, origin)}",
                words.number(good.sum() / span),
                f"{int((inside & found.failed).sum()):,}",
                words.seconds(middle),
                words.seconds(most),
            ]
        )
    head = ["time", "whole answers/s", "failed", "TTFT P50", "TTFT P99"]
    return Table(head, rows, "The same in figures", folded=True)
