"""How right load tools are, against an engine of known speed: errors, and the rate up to which they hold. Pure.

Milliseconds where a name says so; what is "kept up" is told by the same two figures for every tool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from scipy import stats

from experiments.load.arrivals import CONSTANT, POISSON
from experiments.load.referees import Measured, Work
from experiments.report.markdown import about, listed_misses, shown, table

OURS, VLLM, AIPERF = "cluster", "vllm bench serve", "AIPerf"
# The target at 50 requests a second, and what still counts as kept up beyond it.
TTFT_ERROR_MS, RATE_ERROR = 1.0, 0.01
KEPT_TTFT_ERROR_MS, KEPT_RATE_ERROR = 5.0, 0.05
SIGNIFICANCE = 0.01


def figures(work: Work, measured: Measured, ttft_ms: float, itl_ms: float, stub: Mapping[str, Any]) -> dict[str, Any]:
    """One work of one tool: what it measured less what the engine was told to do.

    `stub` is what the engine says of its own lateness meanwhile. `arrivals_p`: of a Kolmogorov-Smirnov test of the
    sending times, against even ones where they should be random: uniform over the time, as a Poisson process's are.
    """
    first, between = numpy.array(measured.first_tokens) * 1000, numpy.array(measured.between_tokens) * 1000
    rate = sent_rate(measured.began)
    found: dict[str, Any] = {
        "asked": work.rate,
        "arrivals": work.arrivals,
        "requests": measured.requests,
        "failed": measured.failed,
        "sent_rate": rate,
        "rate_error": None if rate is None else rate / work.rate - 1,
        "ttft_p50_ms": _percentile(first, 50),
        "ttft_p99_ms": _percentile(first, 99),
        "ttft_error_ms": _less(_percentile(first, 50), ttft_ms),
        "ttft_p99_error_ms": _less(_percentile(first, 99), ttft_ms),
        "itl_p50_ms": _percentile(between, 50),
        "itl_error_ms": _less(_percentile(between, 50), itl_ms),
        "stub": dict(stub),
        "says": measured.says,
    }
    if work.arrivals == POISSON:
        found["arrivals_p"] = poisson_p(measured.began)
    return found


def sent_rate(began: Sequence[float]) -> float | None:
    """Requests a second between the first and the last one; None below two."""
    if len(began) < 2 or began[-1] <= began[0]:
        return None
    return (len(began) - 1) / (began[-1] - began[0])


def poisson_p(began: Sequence[float]) -> float | None:
    """Probability of gaps this unlike an exponential distribution, were they of a Poisson process; None below two."""
    if len(began) < 3:
        return None
    gaps = numpy.diff(numpy.array(began))
    return float(stats.kstest(gaps, "expon", args=(0, float(gaps.mean()))).pvalue)


def kept_up(one: Mapping[str, Any]) -> bool:
    """Whether a tool sent and measured what it was asked to, but for a little."""
    rate, ttft = one["rate_error"], one["ttft_error_ms"]
    return (
        not one["failed"]
        and not one["says"]
        and rate is not None
        and ttft is not None
        and abs(rate) <= KEPT_RATE_ERROR
        and abs(ttft) <= KEPT_TTFT_ERROR_MS
    )


def saturation(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Highest constant rate up to which a tool kept up at every rate tried, and the first at which it did not."""
    held, lost = 0.0, None
    for one in sorted((one for one in runs if one["arrivals"] == CONSTANT), key=lambda one: float(one["asked"])):
        if not kept_up(one):
            lost = one["asked"]
            break
        held = one["asked"]
    return {"held": held, "lost": lost}


def targets_missed(result: Mapping[str, Any]) -> list[str]:
    """What of our own generator's targets does not hold, and where another tool was better."""
    misses, tools = [], result["tools"]
    base = result["base_rate"]
    ours = [one for one in tools.get(OURS, []) if one["asked"] == base]
    if not ours:
        return [f"{OURS}: nothing measured at {base:g}/s"]
    for one in ours:
        what = f"{OURS} at {base:g}/s, {one['arrivals']}"
        if one["failed"]:
            misses.append(f"{what}: {one['failed']} requests failed")
        if one["ttft_error_ms"] is None or abs(one["ttft_error_ms"]) > TTFT_ERROR_MS:
            misses.append(
                f"{what}: TTFT {shown(one['ttft_error_ms'], 2)} ms off in the middle, more than {TTFT_ERROR_MS:g}"
            )
        if one["rate_error"] is None or abs(one["rate_error"]) > RATE_ERROR:
            misses.append(f"{what}: rate {_percent(one['rate_error'])} off, more than {RATE_ERROR:.0%}")
        if one["arrivals"] == POISSON and (one["arrivals_p"] is None or one["arrivals_p"] < SIGNIFICANCE):
            misses.append(f"{what}: arrivals are not Poisson's, p {shown(one['arrivals_p'], 4)}")
    mine, my_rate = _worst(ours), saturation(tools[OURS])["held"]
    for name, runs in tools.items():
        theirs = [one for one in runs if one["asked"] == base]
        if name == OURS or not theirs:
            continue
        if _worst(theirs) < mine:
            misses.append(
                f"{name} is nearer to the true TTFT at {base:g}/s: {_worst(theirs):.2f} ms, {OURS} {mine:.2f} ms"
            )
        if (held := saturation(runs)["held"]) > my_rate:
            misses.append(f"{name} goes further: {held:g}/s, {OURS} {my_rate:g}/s")
    return misses


def report(result: dict[str, Any]) -> str:
    """The Markdown of a result."""
    engine = result["engine"]
    lines = [
        "# How right load tools are",
        "",
        f"Each asks a stub engine that gives its first token {engine['ttft_ms']:g} ms after a request and then one "
        f"each {engine['itl_ms']:g} ms, {engine['output_tokens']} in all, on the same machine, in turns. Errors are "
        "what a tool measured in the middle less that; the stub's own lateness is beside it, and counts in each error.",
        "",
        about(result["machine"], result["versions"], result["started"]),
        f"Load before: {result['load_before']}. {result['beside']}".strip(),
        "",
    ]
    for name, runs in result["tools"].items():
        rows = [_row(one) for one in runs]
        held = saturation(runs)
        ends = f"not at {held['lost']:g}/s" if held["lost"] else "the highest that was tried"
        lines += [f"## {name}", "", table(_HEAD, rows), "", f"Kept up at {held['held']:g}/s; {ends}.", ""]
    lines += [
        f"Kept up: no request failed, rate within {KEPT_RATE_ERROR:.0%}, TTFT within {KEPT_TTFT_ERROR_MS:g} ms in the "
        "middle, and the tool says nothing against itself. AIPerf keeps a mean of the gaps of each request; the others "
        "keep the gaps.",
        "",
        listed_misses(result["misses"]),
    ]
    return "\n".join(lines)


_HEAD = (
    "asked, /s",
    "requests",
    "sent, /s",
    "rate off",
    "TTFT P50, ms",
    "off, ms",
    "P99 off, ms",
    "ITL off, ms",
    "stub late P50 / P99, ms",
    "KS p",
)


def _row(one: Mapping[str, Any]) -> list[str]:
    late = one["stub"].get("first", {})
    return [
        f"{one['asked']:g} {one['arrivals']}",
        str(one["requests"]) + (f", {one['failed']} failed" if one["failed"] else ""),
        shown(one["sent_rate"], 2),
        _percent(one["rate_error"]),
        shown(one["ttft_p50_ms"], 2),
        shown(one["ttft_error_ms"], 2),
        shown(one["ttft_p99_error_ms"], 2),
        shown(one["itl_error_ms"], 2),
        f"{shown(late.get('p50_ms'), 2)} / {shown(late.get('p99_ms'), 2)}",
        shown(one.get("arrivals_p"), 3),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:+.2%}"


def _worst(runs: Sequence[Mapping[str, Any]]) -> float:
    """The largest error in the middle; infinite where one was not measured."""
    return max(math.inf if one["ttft_error_ms"] is None else abs(one["ttft_error_ms"]) for one in runs)


def _percentile(values: Any, share: float) -> float | None:
    return float(numpy.percentile(values, share)) if len(values) else None


def _less(value: float | None, base: float) -> float | None:
    return None if value is None else value - base
