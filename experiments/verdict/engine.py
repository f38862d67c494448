"""Whether the servers spoiled the run: restarts, late compilation, stalls, preemptions, a full KV cache. Pure.

What lies in a declared fault, and as long after it as limits say, is the experiment's own and no complaint.
"""

from __future__ import annotations

import itertools

import numpy as np

from experiments import answers
from experiments.verdict.requests import Requests
from experiments.verdict.seen import Check, Seen, Span, check, clock_time, milliseconds, share, unknown
from experiments.verdict.server import ENGINE_COUNTERS, HOST_TIME, KV_USAGE, PREEMPTIONS, STARTED

# A log line belongs to a silence that it lies in, or comes so many seconds before or after: logs are written late.
LOG_SECONDS = 2.0
# Requests that wait for their first token in a silence show a stall only where they wait much longer than usual.
TTFTS_OF_A_STALL = 5.0


def restarts(seen: Seen) -> Check:
    """Engines or replicas that began anew: by their start time, their counters, their names, or refused connections."""
    name, span = "server_restart", seen.whole_run
    complaints: dict[str, str] = {}
    for series in seen.server.series(STARTED):
        looks = series.around(span.began, span.ended)
        for at, grown in zip(looks.at[1:], np.diff(looks.value), strict=True):
            if grown > 1.0 and not seen.is_declared(at - 30, at):
                complaints[series.node] = f"{series.node}: a process began anew, seen at {_when(seen, at)}"
    for counter in ENGINE_COUNTERS:
        for series in seen.server.series(counter):
            for at in series.around(span.began, span.ended).resets:
                if not seen.is_declared(at - 30, at):
                    words = f"{series.node}: {counter} fell back, seen at {_when(seen, at)}"
                    complaints.setdefault(series.node, words)
    for node, words in (*_replaced(seen), *_refused(seen)):
        complaints.setdefault(node, words)
    remedy = "cluster status says why an engine began anew; wait until every engine serves, and repeat"
    return check(name, "no engine began anew", remedy, [("", words) for words in complaints.values()])


def _replaced(seen: Seen) -> list[tuple[str, str]]:
    """Nodes where one replica's answers end, and then another's begin."""
    found = []
    answered = seen.counted.where(seen.counted.whole & (seen.counted.replica != ""))
    for node in dict.fromkeys(answered.node.tolist()):
        here = answered.where(answered.node == node)
        spans = sorted(
            (float(here.sent[here.replica == replica].min()), float(here.sent[here.replica == replica].max()), replica)
            for replica in dict.fromkeys(here.replica.tolist())
        )
        for (_, last, before), (first, _, after) in itertools.pairwise(spans):
            if last < first and not seen.is_declared(last, first):
                found.append((str(node), f"{node}: replica {after} in place of {before} at {_when(seen, first)}"))
                break
    return found


def _refused(seen: Seen) -> list[tuple[str, str]]:
    """Connections cut or refused for a while, and answers before and after it."""
    lost = np.isin(seen.counted.kind.astype(str), (answers.CUT, answers.UNREACHABLE))
    ends = np.sort(seen.counted.ended[lost])
    whole = seen.counted.whole
    if not ends.size or not whole.any():
        return []
    began, ended = float(ends[0]), float(ends[-1])
    before, after = (seen.counted.ended[whole] < began).any(), (seen.counted.sent[whole] > ended).any()
    unreachable = (seen.counted.kind == answers.UNREACHABLE).any()
    if not (before and after and unreachable) or seen.is_declared(began, ended):
        return []
    words = (
        f"{ends.size} connections cut or refused from {_when(seen, began)} to {_when(seen, ended)}, then served again"
    )
    return [("", words)]


def silences(requests: Requests, limit_seconds: float, limit_gaps: float) -> list[tuple[str, Span]]:
    """(node, stretch) in which a node had requests under way and none of them got a token, for longer than is usual."""
    found = []
    for node in dict.fromkeys(requests.node.tolist()):
        here = requests.where((requests.node == node) & requests.whole)
        streams = [times for times in here.token_times if len(times) > 1]
        if not streams:
            continue
        limit = max(limit_seconds, limit_gaps * float(np.median(np.concatenate([np.diff(times) for times in streams]))))
        firsts = np.asarray([times[0] for times in streams])
        lasts = np.asarray([times[-1] for times in streams])
        arrivals = np.unique(np.concatenate(streams))
        patience = max(limit, TTFTS_OF_A_STALL * float(np.median(here.ttft)))
        for place in np.flatnonzero(np.diff(arrivals) > limit):
            before, after = float(arrivals[place]), float(arrivals[place + 1])
            waited = after - np.maximum(here.sent[here.first_token >= after], before)
            if ((firsts <= before) & (lasts >= after)).any() or (waited > patience).any():
                found.append((str(node), Span(before, after)))
    return found


def compilation(seen: Seen) -> tuple[Check, Check]:
    """(late compilation, stalls): silences that the logs put down to a compilation, and those that they do not."""
    compiled: list[tuple[str, str]] = []
    stalled: list[tuple[str, str]] = []
    lines = seen.server.compiles
    named = set()
    for step in seen.counted.steps:
        requests = seen.step(step)
        for node, span in silences(requests, seen.limits.stall_seconds, seen.limits.stall_gaps):
            hit = float(requests.touched(span.began, span.ended).mean())
            if seen.explained(span.began, span.ended) or hit <= seen.limits.touched_share:
                continue
            words = (
                f"{node or 'the server'} gave no token for {milliseconds(span.seconds)} at {_when(seen, span.began)}"
            )
            why = [line for line in lines if _belongs(line.node, node) and _near(line.at, span)]
            named |= {id(line) for line in why}
            if why:
                compiled.append((step, f'{words}: "{why[0].message.strip()[:100]}"'))
            else:
                stalled.append((step, words))
    whole = seen.whole_run
    for line in lines:
        if whole.began <= line.at <= whole.ended and id(line) not in named and not seen.is_declared(line.at, line.at):
            compiled.append(("", f'{line.node} at {_when(seen, line.at)}: "{line.message.strip()[:100]}"'))
    remedy = "warm up longer (warm_up_seconds), with prompts and batches as large as the counted ones"
    late = check("late_compilation", "nothing was compiled while it counted", remedy, compiled)
    if not compiled and not seen.server.logs:
        late = unknown("late_compilation", "no logs of the engines were collected; stalls are looked for all the same")
    remedy = "look at the node's log of that moment; warm up longer if it was a compilation, and repeat"
    return late, check("server_stall", "no node fell silent with streams under way", remedy, stalled)


def _belongs(of_line: str, of_stream: str) -> bool:
    return not of_line or not of_stream or of_line == of_stream


def _near(at: float, span: Span) -> bool:
    return span.began - LOG_SECONDS <= at <= span.ended + LOG_SECONDS


def preemptions(seen: Seen) -> Check:
    """Requests that engines put back because their KV cache was full."""
    name, complaints, found = "preemptions", [], 0.0
    if not seen.server.series(PREEMPTIONS):
        return unknown(name, f"the engines' metric {PREEMPTIONS} was not collected")
    for step in _judged(seen):
        requests = seen.step(step)
        put_back = seen.server.total(PREEMPTIONS, float(requests.sent.min()), float(requests.ended.max())) or 0.0
        found += put_back
        if put_back > seen.limits.touched_share * len(requests):
            complaints.append((step, f"{put_back:.0f} preemptions among {len(requests)} requests"))
    remedy = "ask for fewer requests at once or shorter ones, or give the KV cache more memory"
    return check(name, f"{found:.0f} preemptions", remedy, complaints)


def kv_ceiling(seen: Seen) -> Check:
    """A KV cache that was full: more requests than it holds were waiting for it."""
    name, complaints, most = "kv_ceiling", [], 0.0
    if not seen.server.series(*KV_USAGE):
        return unknown(name, f"the engines' metric {KV_USAGE[0]} was not collected")
    for step in _judged(seen):
        requests = seen.step(step)
        for series in seen.server.series(*KV_USAGE):
            used = series.during(float(requests.sent.min()), float(requests.ended.max()))
            chosen = [not seen.is_declared(at, at) for at in used.at.tolist()]
            values = used.value[np.asarray(chosen, dtype=bool)]
            if not values.size:
                continue
            most = max(most, float(values.max()))
            if (values >= seen.limits.kv_share).mean() > 0.02:
                words = f"{series.node}: KV cache {share(float(values.max()))} full"
                complaints.append((step, f"{words} in {(values >= seen.limits.kv_share).sum()} of {values.size} looks"))
    remedy = "ask for fewer requests at once or shorter ones, or give the KV cache more memory"
    return check(name, f"KV cache at most {share(most)} full", remedy, complaints)


def host_clock(seen: Seen) -> Check:
    """Steps of a host's clock, by the time that it gave with its metrics."""
    name, complaints = "host_clock", []
    if not seen.server.series(HOST_TIME):
        return unknown(name, f"the hosts' metric {HOST_TIME} was not collected")
    for series in seen.server.series(HOST_TIME):
        looks = series.around(seen.whole_run.began, seen.whole_run.ended)
        steps = np.diff(looks.value - looks.at)
        for place in np.flatnonzero(np.abs(steps) > seen.limits.host_clock_step_seconds)[:1]:
            at = float(looks.at[place + 1])
            if not seen.is_declared(at, at):
                complaints.append(
                    ("", f"{series.node}: its clock was stepped by {steps[place]:+.2f} s at {_when(seen, at)}")
                )
    remedy = "let the hosts' clocks be slewed while a load runs (chrony: makestep only at the start), and repeat"
    return check(name, "no host's clock was stepped", remedy, complaints)


def _judged(seen: Seen) -> list[str]:
    return [step for step in seen.counted.steps if step not in seen.beyond]


def _when(seen: Seen, at: float) -> str:
    return clock_time(float(at), seen.whole_run.began)
