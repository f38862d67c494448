"""The part of each load step in which nothing but chance changes: warm-up found and cut, a trend or a cold cache named.

Pure. Warm-up is cut where the standard error of what is left is least (the marginal standard error rule, MSER; White,
1997), but only when what is cut is really another: a rule that always cuts would throw away good samples of clean runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiments.verdict.requests import Flags, Floats, Requests
from experiments.verdict.seen import Check, Seen, check, milliseconds, share
from experiments.verdict.server import PREFIX_HITS, PREFIX_QUERIES

BATCHES = 40
LEAST = 20
# Of a thousand clean steps fewer than one is cut by chance.
CHANCE = 0.001


@dataclass(frozen=True)
class Steady:
    """A load step's steady part: requests of it that were sent from `began` to `ended` (unix seconds) count.

    `cut` requests lie before it, beside the declared warm-up; `requests` are left.
    """

    step: str
    began: float
    ended: float
    cut: int
    requests: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return dict(vars(self))


def warm_up(values: Floats) -> int:
    """How many values at the start are of another kind than the rest; 0 where none can be told."""
    values = values[np.isfinite(values)]
    if values.size < LEAST:
        return 0
    # One long wait anywhere is no warm-up: what is beyond the 95th percentile counts as that.
    clipped = np.minimum(values, np.quantile(values, 0.95))
    size = max(values.size // BATCHES, 1)
    batches = clipped[: values.size // size * size].reshape(-1, size).mean(axis=1)
    half = batches.size // 2
    errors = [float(batches[start:].var()) / (batches.size - start) for start in range(half + 1)]
    start = int(np.argmin(errors)) * size
    if not start:
        return _first_ones(values)
    before, after = values[:start], values[start:]
    unlike = float(stats.mannwhitneyu(before, after).pvalue) < CHANCE
    apart = abs(_change(float(np.median(after)), float(np.median(before)))) > 0.03
    return start if unlike and apart else _first_ones(values)


def _first_ones(values: Floats) -> int:
    """Some single first values that lie far beyond all others: what a first request pays alone."""
    rest = float(values[min(10, values.size // 4) :].max())
    far = np.flatnonzero(values[: min(10, values.size // 4)] > 1.5 * rest)
    return int(far[-1]) + 1 if far.size else 0


def parts(counted: Requests) -> dict[str, Steady]:
    """The steady part of each step, by TTFT and by TPOT: what either calls warm-up is cut."""
    found = {}
    for step in counted.steps:
        requests = counted.where(counted.step == step)
        whole = requests.where(requests.whole)
        cut = 0
        for values in (whole.ttft, whole.tpot):
            known = np.flatnonzero(np.isfinite(values))
            number = warm_up(values)
            cut = max(cut, int(known[number]) if 0 < number < known.size else 0)
        began = float(whole.sent[cut]) if len(whole) else float(requests.sent.min())
        left = requests.where(requests.sent >= began)
        lost = len(requests) - len(left)
        found[step] = Steady(step, began, float(requests.sent.max()), lost, len(left))
    return found


def steady_flags(counted: Requests, found: dict[str, Steady]) -> Flags:
    """Which requests lie in the steady part of their step."""
    began = np.asarray([found[step].began for step in counted.step.tolist()])
    return counted.sent >= began


def cold_cache(seen: Seen, found: dict[str, Steady]) -> Check:
    """Prefixes that were asked for the first time within the steady part: part of it paid for what later ones found."""
    name, complaints, warmed = "cold_prefix_cache", [], []
    for step in seen.counted.steps:
        requests = seen.step(step)
        words = _cold(seen, requests, found[step].began)
        if words:
            complaints.append((step, words))
        elif found[step].cut and _cold(seen, requests, float(requests.sent.min())):
            warmed.append(step)
    fine = "no prefix was new to the cache" + (f"; cold at the start, cut: {', '.join(warmed)}" if warmed else "")
    remedy = "let the warm-up ask for every prefix once (a longer warm_up_seconds, or fewer prefix groups), and repeat"
    return check(name, fine, remedy, complaints)


def _cold(seen: Seen, requests: Requests, began: float) -> str:
    """Words where first requests of a prefix are slower than later ones, from `began` on.

    Where the load says nothing of prefixes, words where the engines found ever more of them.
    """
    shares = requests.where(requests.whole & (requests.prefix_group >= 0))
    if len(shares):
        earlier = seen.every.where(seen.every.sent < began).prefix_group
        _, places = np.unique(shares.prefix_group[shares.sent >= began], return_index=True)
        part = shares.where(shares.sent >= began)
        first = np.zeros(len(part), dtype=bool)
        first[places] = True
        first &= ~np.isin(part.prefix_group, earlier)
        if first.sum() >= 5 and (~first).sum() >= 5:
            new, known = part.ttft[first], part.ttft[~first]
            slower = _change(float(np.median(known)), float(np.median(new)))
            chance = float(stats.mannwhitneyu(new, known, alternative="greater").pvalue)
            if slower > seen.limits.cold_share and chance < CHANCE and first.mean() > seen.limits.touched_share:
                return f"{first.sum()} prefixes were new, their TTFT {share(slower)} longer"
        return ""
    return _hits_rise(seen, began, float(requests.ended.max()))


def _hits_rise(seen: Seen, began: float, ended: float) -> str:
    """Words where the engines' share of prefix hits rose from the first third of the time to the last."""
    third = (ended - began) / 3
    shares = []
    for start in (began, ended - third):
        asked = seen.server.total(PREFIX_QUERIES, start, start + third)
        hit = seen.server.total(PREFIX_HITS, start, start + third)
        if not asked or hit is None:
            return ""
        shares.append(hit / asked)
    if shares[1] - shares[0] <= seen.limits.cold_hits:
        return ""
    return f"prefix hits rose from {share(shares[0])} to {share(shares[1])} of the tokens asked for"


def trend(seen: Seen, found: dict[str, Steady]) -> Check:
    """A steady part that is none: TTFT or TPOT goes one way to its end."""
    name, complaints = "steady_state", []
    for step, part in found.items():
        requests = seen.step(step)
        chosen = (requests.sent >= part.began) & requests.whole & seen.undisturbed(requests)
        if step in seen.beyond:
            continue
        for figure, values in (("TTFT", requests.ttft[chosen]), ("TPOT", requests.tpot[chosen])):
            if words := _drifts(values[np.isfinite(values)], seen.limits.trend_share):
                complaints.append((step, f"{figure} {words}"))
    remedy = "run longer, warm up longer, or ask for a lower rate"
    return check(name, "no trend after the warm-up", remedy, complaints)


def _change(base: float, value: float) -> float:
    """value / base - 1; tokens that came all at once take no time, and nothing is said of their ratio."""
    return value / base - 1 if base > 0 else 0.0


def _drifts(values: Floats, most: float) -> str:
    if values.size < 2 * LEAST:
        return ""
    batches = np.asarray([float(np.median(part)) for part in np.array_split(values, 8)])
    tau = stats.kendalltau(np.arange(8), batches)
    first, last = np.array_split(values, 4)[0], np.array_split(values, 4)[-1]
    change = _change(float(np.median(first)), float(np.median(last)))
    unlike = float(stats.mannwhitneyu(first, last).pvalue) < CHANCE
    if abs(change) <= most or float(tau.pvalue) > 0.01 or not unlike:
        return ""
    return (
        f"goes from {milliseconds(float(np.median(first)))} in the first quarter to "
        f"{milliseconds(float(np.median(last)))} in the last"
    )


def long_enough(seen: Seen, found: dict[str, Steady]) -> Check:
    """Too few requests for the percentiles that are reported, or a step shorter than some of its requests' lives."""
    name, complaints = "too_short", []
    least = seen.limits.least_requests
    for step, part in found.items():
        requests = seen.step(step)
        whole = requests.where((requests.sent >= part.began) & requests.whole)
        if len(whole) < least:
            words = f"{len(whole)} requests in the steady part; P{100 * seen.limits.percentile:g} wants {least}"
            complaints.append((step, words))
            continue
        lives = float(np.median(whole.ended - whole.sent))
        seconds = part.ended - part.began
        if seconds < 3 * lives and step not in seen.beyond:
            complaints.append((step, f"{seconds:.1f} s of steady load, and a request takes {lives:.1f} s"))
    remedy = "let the step run longer (llm_benchmark_duration, more requests), or report a lower percentile"
    return check(name, "long enough for the percentiles that are reported", remedy, complaints)
