"""What limited the run, what the plan had promised, and how it differs from another run. Seconds, tokens a second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.report import limit as limits
from experiments.report import requests, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html import parts
from experiments.report.html.budgets import stacked
from experiments.report.html.parts import Block, Chart, Section, Table, Text, Tone
from experiments.report.requests import StepFigures
from hardware.planner.explain import Finding

PLAN = "plan.json"
COMPARISONS = ("results/comparison.json", "diverse/comparison.json")
# Above this share of the measured time, the parts do not say what the limit is.
MUCH_UNEXPLAINED = 0.3
FIGURES = (("ttft_seconds", "TTFT"), ("itl_seconds", "ITL"), ("tokens_per_second", "tokens/s"))


def limit(files: BundleFiles) -> Section:
    """`cluster explain` on the bundle: what bound each step, how far from physics, and what would prove it."""
    found = limits.findings(files)
    if isinstance(found, str):
        return Section("limit", "The limit", missing=found)
    names = [f"{step_of(finding)}: {'prefill' if finding.point.step.prefill else 'decode'}" for finding in found]
    kinds = list(dict.fromkeys(one for finding in found for one in finding.timing.by_limit()))
    rows, stacks = [], []
    for finding in found:
        by_limit = finding.timing.by_limit()
        rest = max(0.0, finding.unexplained_seconds)
        stacks.append([*(by_limit.get(kind, 0.0) for kind in kinds), rest])
        share = finding.timing.binding[1]
        rows.append(
            [
                finding.point.name,
                words.seconds(finding.point.seconds),
                words.seconds(finding.timing.seconds),
                f"{finding.limit} ({words.percent(share)})",
                words.seconds(finding.ideal_seconds),
                f"{finding.distance:.1f} x",
            ]
        )
    counted: dict[str, int] = {}
    for finding in found:
        counted[finding.limit] = counted.get(finding.limit, 0) + 1
    most = max(counted, key=lambda kind: counted[kind])
    test = found[0].tests[0] if found[0].tests else None
    blocks: list[Block] = [
        Text(f"Bound by {most} in {counted[most]} of {words.counted(len(found), 'step')}.", None),
        *_unexplained(found),
        Chart(
            "limit-steps",
            "A step's time by what it goes to",
            stacked(names, [*kinds, "not explained"], stacks),
            found[0].sentence(),
            90 + 44 * len(names),
        ),
        Table(
            ["step", "measured", "explained", "limit", "by physics alone", "from it"],
            rows,
            "The same in figures",
            frozenset({0, 3}),
        ),
    ]
    if test is not None:
        then = f"{words.seconds(test.seconds)} a step, {words.percent(test.change, True)}"
        blocks.append(Text(f"What would prove it: {test.name} ({test.how}); then {then}.", "idle"))
    lead = "The engine of “cluster explain”, on the steps of this run as its clients saw them."
    return Section("limit", "The limit", tuple(blocks), lead=lead)


def step_of(finding: Finding) -> str:
    """The load step of a finding, from its point's name."""
    return finding.point.shape.partition(":")[0]


def _unexplained(found: Sequence[Finding]) -> list[Text]:
    """A limit of what is explained is no limit of the run where most of its time is not."""
    share = float(np.median([max(0.0, one.unexplained_seconds) / one.point.seconds for one in found]))
    if share <= MUCH_UNEXPLAINED:
        return []
    text = f"{words.percent(share)} of the time is in none of these parts, so what bounds the run is not known."
    return [Text(text, "busy", "calibrate when nothing else runs (cluster calibrate), then run the experiment again")]


@dataclass(frozen=True)
class _Held:
    step: str
    figure: str
    low: float
    likely: float
    high: float
    measured: float

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def error(self) -> float:
        return self.likely / self.measured - 1


def prediction(files: BundleFiles) -> Section:
    """The plan's interval for each step, and where the measurement lies."""
    plan = files.json(PLAN)
    if not isinstance(plan, Mapping):
        return Section("prediction", "Prediction against measurement", missing=files.why(PLAN))
    promised = _promised(plan)
    if not promised:
        why = str(plan.get("refusal") or "") or "it has no placement with a speed"
        return Section("prediction", "Prediction against measurement", missing=f"the plan promised nothing: {why}")
    found = requests.read(files)
    if found is None:
        return Section("prediction", "Prediction against measurement", missing=files.why(requests.REQUESTS))
    held = [one for step in found.steps if step.good for one in _held(step, promised)]
    if not held:
        most = f"{promised[0]['concurrency']} to {promised[-1]['concurrency']}"
        why = f"no step had as many requests in flight as the plan spoke of ({most})"
        return Section("prediction", "Prediction against measurement", missing=why)
    inside = sum(one.inside for one in held)
    errors = sorted(abs(one.error) for one in held)
    tone: Tone = "good" if inside >= 0.8 * len(held) else "busy"
    rows = [
        [
            one.step,
            one.figure,
            _figure(one.figure, one.low),
            _figure(one.figure, one.likely),
            _figure(one.figure, one.high),
            _figure(one.figure, one.measured),
            words.percent(one.error, True),
            "inside" if one.inside else "OUTSIDE",
        ]
        for one in held
    ]
    looks: dict[int, Tone] = {row: "busy" for row, one in enumerate(held) if not one.inside}
    error = words.percent(float(np.median(errors)))
    text = f"{inside} of {len(held)} figures lie in the plan's interval; the median error is {error}."
    blocks: list[Block] = [
        Text(text, tone),
        Chart("prediction-all", "Measured, as a multiple of the likely", _dumbbells(held), text, 110 + 30 * len(held)),
    ]
    head = ["step", "figure", "low", "likely", "high", "measured", "likely is off by", ""]
    blocks.append(Table(head, rows, "The same in figures", frozenset({0, 1, 7}), tones=looks))
    return Section(
        "prediction",
        "Prediction against measurement",
        tuple(blocks),
        lead=f"The plan's interval: {plan.get('interval_source') or 'its source is not said'}.",
    )


def differences(files: BundleFiles) -> Section:
    """Another run beside this one: the change with its interval, and the smallest that could have been seen."""
    said = next((one for path in COMPARISONS if isinstance(one := files.json(path), Mapping)), None)
    if said is None or not isinstance(said.get("differences"), list):
        return Section(
            "differences",
            "Differences",
            missing=files.why(*COMPARISONS[:1]) + "; “cluster experiment compare” makes it",
        )
    every = [one for one in said["differences"] if isinstance(one, Mapping)]
    rows, looks = [], {}
    for row, one in enumerate(every):
        differs = one.get("differs")
        word = (
            "cannot tell"
            if differs is None
            else ("worse" if one.get("worse") else "better")
            if differs
            else "no difference shown"
        )
        looks[row] = _tone(differs, bool(one.get("worse")))
        rows.append(
            [
                str(one.get("figure", "")),
                words.number(one.get("a")),
                words.number(one.get("b")),
                words.percent(one.get("change"), True),
                f"{words.percent(one.get('low'), True)} to {words.percent(one.get('high'), True)}",
                words.percent(one.get("noise")),
                words.percent(one.get("smallest")),
                word,
            ]
        )
    differing = sum(bool(one.get("differs")) for one in every)
    text = f"{differing} of {len(every)} figures differ between {said.get('a', 'A')} and {said.get('b', 'B')}."
    head = ["figure", "A", "B", "change", "interval", "noise of a run", "smallest to be seen", ""]
    blocks: list[Block] = [
        Text(text),
        Chart("difference-all", "Change from A to B", _forest(every), text, 110 + 30 * len(every)),
        Table(head, rows, "The same in figures", frozenset({0, 7}), tones=looks),
    ]
    blocks += [Text(str(caveat), "idle") for caveat in said.get("caveats", ())]
    return Section(
        "differences",
        "Differences with their uncertainty",
        tuple(blocks),
        lead=f"{said.get('runs', '?')} runs, {said.get('way', '')}.",
    )


def _tone(differs: bool | None, worse: bool) -> Tone:
    if differs is None:
        return "busy"
    return ("bad" if worse else "good") if differs else "idle"


def _promised(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    placements = [one for one in plan.get("placements", ()) if isinstance(one, Mapping) and one.get("predictions")]
    chosen = next(
        (one for one in placements if one.get("name") == plan.get("recommended")), placements[0] if placements else None
    )
    return sorted(chosen["predictions"], key=lambda one: float(one["concurrency"])) if chosen else []


def _held(step: StepFigures, promised: Sequence[Mapping[str, Any]]) -> Iterator[_Held]:
    """The plan's interval at this step's load, between the concurrencies that it spoke of."""
    known = [float(one["concurrency"]) for one in promised]
    load = max(step.in_flight, 1e-9)
    if not known[0] / 1.3 <= max(load, 1.0) <= known[-1] * 1.3:
        return
    measured = {
        "ttft_seconds": step.ttft[0.5].value,
        "itl_seconds": step.tpot[0.5].value or step.itl[0.5].value,
        "tokens_per_second": step.output_tokens_per_second,
    }
    for key, title in FIGURES:
        value = measured[key]
        if not value or not all(isinstance(one.get(key), Mapping) for one in promised):
            continue
        low, likely, high = (
            float(np.interp(np.log(load), np.log(known), [float(one[key][end]) for one in promised]))
            for end in ("low", "likely", "high")
        )
        yield _Held(step.name, title, low, likely, high, value)


def _figure(figure: str, value: float) -> str:
    return words.number(value) if figure == "tokens/s" else words.seconds(value)


def _dumbbells(held: Sequence[_Held]) -> dict[str, Any]:
    names = [f"{one.step}: {one.figure}" for one in held]
    ranges = [[place, *parts.rounded([one.low / one.likely, one.high / one.likely])] for place, one in enumerate(held)]
    points = [[*parts.rounded([one.measured / one.likely]), place] for place, one in enumerate(held)]
    return _rows(names, ranges, "the plan's interval", points, "measured", "measured / likely", 1.0, "~times")


def _forest(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = [str(one.get("figure", "")) for one in every]
    ranges = [
        [place, *parts.rounded([_hundred(one.get("low")), _hundred(one.get("high"))])]
        for place, one in enumerate(every)
        if one.get("low") is not None and one.get("high") is not None
    ]
    points = [[*parts.rounded([_hundred(one.get("change"))]), place] for place, one in enumerate(every)]
    return _rows(names, ranges, "interval", points, "change", "change from A to B", 0.0, "~signed")


def _hundred(value: Any) -> float | None:
    return 100.0 * value if isinstance(value, int | float) else None


def _rows(
    names: Sequence[str],
    ranges: Sequence[Any],
    range_name: str,
    points: Sequence[Any],
    point_name: str,
    unit: str,
    mark: float,
    formatter: str,
) -> dict[str, Any]:
    line = {
        "silent": True,
        "symbol": "none",
        "data": [{"xAxis": mark}],
        "label": {"show": False},
        "lineStyle": {"color": "@faint", "type": "dashed"},
    }
    return parts.base(
        xAxis=parts.across(unit, formatter, scale=True),
        yAxis={
            "type": "category",
            "data": list(names),
            "inverse": True,
            "axisLabel": {"color": "@text", "width": 150, "overflow": "break", "lineHeight": 14},
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": "@edge"}},
        },
        tooltip={**parts.base()["tooltip"], "trigger": "item", "formatter": "~row"},
        series=[
            {
                "name": range_name,
                "type": "custom",
                "renderItem": "~span",
                "data": list(ranges),
                "encode": {"x": [1, 2], "y": 0},
                "itemStyle": {"color": "@series1", "opacity": 0.45},
            },
            {
                "name": point_name,
                "type": "scatter",
                "symbol": "diamond",
                "symbolSize": 13,
                "data": list(points),
                "itemStyle": {"color": "@series2"},
                "markLine": line,
                "z": 5,
            },
        ],
    )
