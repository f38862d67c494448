"""Where time went: the ledger of a request's parts, and the budget of each recovery. Seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.report import words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import parts
from experiments.report.html.parts import Block, Chart, Section, Table, Text, Tone
from experiments.report.requests import Floats

LEDGER, RECOVERY = "results/ledger.parquet", "results/recovery.json"
PARTS = ("client", "network", "gateway", "engine", "queue", "prefill", "decode")
ALL_BOOKS = "all"
STAGES = ("detect", "drain", "start", "load", "prove")
# Of the requests by their whole time, those around a percentile: how far to each side, as a share of all.
AROUND = 0.03


def ledger(files: BundleFiles) -> Section:
    """Parts of requests in the middle and at the 99th percentile, of all and of each node."""
    table = files.table(LEDGER, ("whole_ms", "node"))
    if table is None or not table.num_rows:
        return Section("ledger", "Latency ledger", missing=files.why(LEDGER))
    columns = [name for name in PARTS if f"{name}_ms" in table.column_names]
    values = {name: _floats(table[f"{name}_ms"]) / 1e3 for name in columns}
    values = {name: one for name, one in values.items() if np.isfinite(one).any()}
    whole = _floats(table["whole_ms"]) / 1e3
    counted = np.isfinite(whole)
    if "warm_up" in table.column_names:
        counted &= ~np.asarray(table["warm_up"].fill_null(False), dtype=np.bool_)
    known = _texts(table, "known")
    if (known == ALL_BOOKS).any():
        counted &= known == ALL_BOOKS
    if not values or not counted.any():
        return Section("ledger", "Latency ledger", missing=f"{LEDGER}: no request of which a part is known")
    summed = np.nansum(np.stack(list(values.values())), axis=0)
    nodes = _texts(table, "node")
    groups = [("all", counted), *((str(node), counted & (nodes == node)) for node in sorted(set(nodes)) if node)]
    names, rows, shares = [], [], []
    for name, inside in groups:
        for share in (0.5, 0.99):
            around = inside & _around(np.where(inside, whole, np.nan), share)
            if around.any():
                names.append(f"{name}, P{share * 100:.0f}")
                means = [float(np.mean(np.nan_to_num(one[around]))) for one in values.values()]
                shares.append(means)
                told = [words.seconds(one) for one in means]
                mean_whole = words.seconds(float(np.mean(whole[around])))
                rows.append([names[-1], *told, words.seconds(sum(means)), mean_whole, f"{int(inside.sum()):,}"])
    each = ", ".join(f"{part} {words.seconds(one)}" for part, one in zip(values, shares[0], strict=True))
    said = f"Parts of a request in the middle: {each}."
    left = np.abs(summed - whole)[counted]
    allowed = [max(0.002, 0.02 * float(np.quantile(whole[counted], share))) for share in (0.5, 0.99)]
    rest = [float(np.quantile(left, share)) for share in (0.5, 0.99)]
    held = all(one <= most for one, most in zip(rest, allowed, strict=True))
    text = (
        f"What the parts leave over: {words.seconds(rest[0])} in the middle, {words.seconds(rest[1])} at P99 "
        f"(at most {words.seconds(allowed[0])} and {words.seconds(allowed[1])}), of {int(counted.sum()):,} requests."
    )
    blocks: list[Block] = [
        Text(text, "good" if held else "bad"),
        Chart("ledger-parts", "A request's parts", stacked(names, list(values), shares), said, 90 + 34 * len(names)),
        Table(["requests", *values, "sum", "whole", "of"], rows, "The same in figures"),
    ]
    lead = "Requests around the middle and around the 99th percentile of the whole time; each bar is their mean."
    return Section("ledger", "Latency ledger", tuple(blocks), lead=lead)


def recovery(files: BundleFiles) -> Section:
    """One bar a fault: detect, drain, start, load, prove."""
    said = files.json(RECOVERY)
    every = said.get("budgets", said.get("recovery")) if isinstance(said, Mapping) else said
    if not isinstance(every, list) and files.faults != ():
        return Section("recovery", "Recovery budget", missing=files.why(RECOVERY))
    if not every:
        return Section(
            "recovery", "Recovery budget", (Text("No fault was injected, so nothing had to recover.", "idle"),)
        )
    names, rows, stages, notes = [], [], [], []
    looks: dict[int, Tone] = {}
    for one in (one for one in every if isinstance(one, Mapping)):
        nodes = one.get("nodes") or one.get("node") or ""
        where = ", ".join(str(node) for node in nodes) if isinstance(nodes, list) else str(nodes)
        names.append(f"{one.get('fault') or one.get('name') or ''} {where}".strip())
        spent = [_seconds(one, stage) for stage in STAGES]
        stages.append([value or 0.0 for value in spent])
        whole, cost = _seconds(one, "whole"), one.get("cost")
        cost = cost if isinstance(cost, Mapping) else {}
        asked, missed = cost.get("requests"), cost.get("missed")
        rows.append(
            [
                names[-1],
                *(words.seconds(value) for value in spent),
                words.seconds(whole),
                f"{missed} of {asked}" if asked is not None else words.NONE,
                words.number(one.get("lost_to_the_fault")),
                words.plain(cost.get("failed")),
            ]
        )
        if cost.get("truncated_as_whole"):
            looks[len(rows) - 1] = "bad"
            cut = words.counted(len(cost["truncated_as_whole"]), "cut answer")
            notes.append(Text(f"{names[-1]}: {cut} passed as whole", "bad"))
        if one.get("adds_up") is False:
            notes.append(Text(f"{names[-1]}: the parts do not sum to the whole", "busy"))
        if one.get("detail"):
            notes.append(Text(f"{names[-1]}: {one['detail']}", "idle"))
    spoken = "; ".join(f"{row[0]}: {row[6]}" for row in rows[:6])
    option = stacked(names, list(STAGES), stages)
    head = ["fault", *STAGES, "whole", "objectives missed", "of them by the fault", "failed"]
    blocks: list[Block] = [
        Chart(
            "recovery-stages",
            "From the fault to the proof",
            option,
            f"Recovery of each fault: {spoken}.",
            90 + 34 * len(names),
        ),
        Table(head, rows, "The same in figures, and what it cost the clients", tones=looks),
        *notes,
    ]
    return Section(
        "recovery",
        "Recovery budget",
        tuple(blocks),
        lead="What the time went to until the node served again, proved by an answer.",
    )


def _texts(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    if name not in table.column_names:
        return np.full(table.num_rows, "", dtype=object)
    return np.array([str(one or "") for one in table[name].to_pylist()], dtype=object)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).fill_null(math.nan), dtype=np.float64)


def _around(values: Floats, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    there = values[np.isfinite(values)]
    if not there.size:
        return np.zeros(values.shape, dtype=bool)
    reach = max(AROUND, 2.0 / there.size)
    low, high = np.quantile(there, [max(0.0, share - reach), min(1.0, share + (reach if share < 0.9 else 0.005))])
    return np.asarray((values >= low) & (values <= high), dtype=bool)


def stacked(names: Sequence[str], pieces: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Stacked bars, one a name, in the unit that suits them; patterns beside colours tell the pieces apart."""
    longest = max((sum(row) for row in rows), default=1.0)
    factor, unit = (1e3, "ms") if longest < 2 else (1.0, "s")
    series = [
        {
            "name": piece,
            "type": "bar",
            "stack": "all",
            "barMaxWidth": 22,
            "data": parts.rounded([row[place] * factor for row in rows], 4),
            "itemStyle": {"color": parts.SERIES[place % 8], "borderColor": "@card", "borderWidth": 1},
            "tooltip": {"valueFormatter": f"~{'ms' if unit == 'ms' else 'seconds'}"},
        }
        for place, piece in enumerate(pieces)
    ]
    return parts.base(
        aria={"enabled": True, "decal": {"show": True}},
        series=series,
        xAxis=parts.across(unit),
        yAxis={
            "type": "category",
            "data": list(names),
            "inverse": True,
            "axisLabel": {"color": "@text", "width": 150, "overflow": "break", "lineHeight": 14},
            "axisLine": {"lineStyle": {"color": "@edge"}},
            "axisTick": {"show": False},
        },
        tooltip={**parts.base()["tooltip"], "axisPointer": {"type": "shadow"}},
    )


def _seconds(one: Mapping[str, Any], stage: str) -> float | None:
    for key in (stage, f"{stage}_seconds"):
        value = one.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
