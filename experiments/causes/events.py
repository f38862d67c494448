"""Happenings that a series of levels does not show: what began anew, what a log said, what went on while unseen. Pure.

A gap in a node's metrics has three causes that look alike from outside. The counters after it tell them apart: a host
that was only cut off went on working in the gap, one that hung stood still, one that fell began anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from experiments.causes import series, signals
from experiments.causes.telemetry import Series, Telemetry

JUMP_SECONDS = 1.0
REBOOT_SECONDS = 5.0
# Of a host's usual work, what it does while it hangs, and while it is only cut off: Ray and the system go on.
STOOD_STILL, WENT_ON = 0.08, 0.12
_WORDS: tuple[tuple[str, str], ...] = (
    ("out of memory", r"out of memory|oom[-_ ]?kill|invoked oom|cannot allocate memory"),
    (
        "killed",
        r"code=killed|status=9/KILL|killed by signal|signal 9|SIGKILL|code=dumped|segfault|"
        r"engine.*(process is gone|died|exited)|main process exited",
    ),
    ("stopped moving", r"\bwedged\b|no token for \d|hung task|blocked for more than|stopped \(signal\)"),
    ("disk error", r"I/O error|EXT4-fs error|No space left on device|blk_update_request"),
    ("gpu error", r"NVRM: Xid|fallen off the bus|amdgpu.*(reset|timeout)|uncorrectable ECC"),
    ("host began anew", r"^Linux version \d|Command line: BOOT_IMAGE|systemd\[1\]: Startup finished"),
    ("clock jumped", r"clock (changed|jumped)|time has been changed|System clock wrong by [1-9]|Clock change detected"),
)
_PATTERNS = tuple((what, re.compile(pattern, re.IGNORECASE)) for what, pattern in _WORDS)


@dataclass(frozen=True)
class Event:
    """One happening on a node, and in words what it was read from."""

    node: str
    what: str
    at: float
    words: str


def happened(seen: Telemetry) -> list[Event]:
    """Everything that happened, by time."""
    found: list[Event] = []
    for node in seen.nodes:
        found += _restarts(seen, node)
        found += _reboots(seen, node)
        found += _jumps(seen, node)
        found += _gaps(seen, node)
    found += _logs(seen)
    return sorted(found, key=lambda event: (event.at, event.node, event.what))


def _restarts(seen: Telemetry, node: str) -> Iterator[Event]:
    """An engine whose counters fell, or whose process began later than before."""
    for one in signals.all_series(seen, node, f"{signals.ENGINE}(generation_tokens|prompt_tokens)(_total)?"):
        for place in np.flatnonzero(np.diff(one.values) < 0):
            at = float(one.times[place + 1])
            yield Event(node, "engine began anew", at, f"its token counter fell to {one.values[place + 1]:.0f}")
    for one in signals.all_series(seen, node, r"(ray_)?(vllm[:_])?process_start_time_seconds"):
        if "engine" in f"{one.labels.get('job', '')} {one.labels.get('instance', '')}" or "vllm" in str(one.labels):
            for place in np.flatnonzero(np.diff(one.values) > JUMP_SECONDS):
                yield Event(node, "engine began anew", float(one.times[place + 1]), "its process is another one")


def _reboots(seen: Telemetry, node: str) -> Iterator[Event]:
    for one in signals.all_series(seen, node, "node_boot_time_seconds"):
        for place in np.flatnonzero(np.abs(np.diff(one.values)) > REBOOT_SECONDS):
            yield Event(node, "host began anew", float(one.times[place + 1]), "it booted")


def _jumps(seen: Telemetry, node: str) -> Iterator[Event]:
    """The node's own clock against the collector's, where the clock's step is larger than a scrape may take."""
    for one in signals.all_series(seen, node, "node_time_seconds"):
        offset = one.values - one.times
        steps = np.diff(offset)
        noise = max(JUMP_SECONDS, 8 * series.scatter(steps)) if steps.size >= 3 else JUMP_SECONDS
        for place in np.flatnonzero(np.abs(steps) > noise):
            yield Event(node, "clock jumped", float(one.times[place + 1]), f"its clock stepped {steps[place]:+.1f} s")


def _gaps(seen: Telemetry, node: str) -> Iterator[Event]:
    """What the node did while nothing was heard of it, by the processor seconds that its processes used meanwhile."""
    every = list(_work(seen, node))
    if not every:
        return
    times = np.unique(np.concatenate([one.times for one in every]))
    longest = max(4.2 * seen.interval_seconds, 8.0)  # a lost scrape or two are no gap
    for place in np.flatnonzero(np.diff(times) > longest):
        began, ended = float(times[place]), float(times[place + 1])
        grown, usual, fell = 0.0, 0.0, False
        for one in every:
            inside = float(np.interp(ended, one.times, one.values) - np.interp(began, one.times, one.values))
            before = one.times <= began
            if before.sum() >= 2:
                span = one.times[before]
                usual += float((one.values[before][-1] - one.values[before][0]) / max(span[-1] - span[0], 1e-9))
            fell = fell or inside < -1e-6
            grown += inside
        if fell or usual <= 0:
            continue  # it booted, or processes ended: seen as such
        # Before the gap's true begin and after its end it worked as usual: about one interval in all.
        silent = max(ended - began - seen.interval_seconds, 1e-9)
        share = max(0.0, grown / usual - seen.interval_seconds) / silent
        words = f"in {ended - began:.0f} s without a word it did {share:.0%} of its usual work"
        if share < STOOD_STILL:
            yield Event(node, "stood still", began + 1e-3, words)
        elif share > WENT_ON:
            yield Event(node, "cut off, but alive", began + 1e-3, words)


def _work(seen: Telemetry, node: str) -> Iterator[Series]:
    """Processor seconds of the node's own processes; where they are not told apart, of all but idling."""
    own = list(seen.named(node, ("cluster_processes_cpu_seconds",)))
    if own:
        yield from own
        return
    for one in seen.named(node, ("node_cpu_seconds_total",)):
        if one.labels.get("mode") not in ("idle", "iowait", "steal"):
            yield one


def _logs(seen: Telemetry) -> Iterator[Event]:
    for line in seen.lines:
        for what, pattern in _PATTERNS:
            if line.node and pattern.search(line.message):
                yield Event(line.node, what, line.at, f"{line.unit or 'log'}: {line.message[:160]}")
