"""Whether the client spoiled the run: its clock, its event loop, its sending, its processors, what it never sent. Pure.

A later check leaves out what an earlier one explains: a stopped client sends late too, but it is stopped, not slow.
"""

from __future__ import annotations

import numpy as np

from experiments.load.health import PERIOD_SECONDS
from experiments.verdict.demand import not_held_back
from experiments.verdict.requests import Floats, Requests
from experiments.verdict.seen import Check, ClientSeen, Seen, Span, check, clock_time, milliseconds, share, unknown

FAST_GOVERNORS = frozenset({"performance", "schedutil", "ondemand", "interactive", "userspace", ""})
_LAG_REMEDY = "run the client on a machine with idle cores, or ask for a lower rate"


def pauses(client: ClientSeen, pause_seconds: float) -> tuple[Span, ...]:
    """When the event loop was not run at all: a look that was late by so much, from when it was due."""
    late = client.lag >= pause_seconds
    return tuple(
        Span(float(at - lag), float(at)) for at, lag in zip(client.lag_at[late], client.lag[late], strict=True)
    )


def clock(seen: Seen) -> Check:
    """Steps of the client's clock, and records whose times run backwards."""
    name, complaints = "client_clock", []
    wall, at = seen.client.wall, seen.client.wall_at
    if wall.size > 1:
        steps = np.diff(wall)
        worst = int(np.argmax(np.abs(steps)))
        if abs(steps[worst]) > seen.limits.clock_step_seconds:
            when = clock_time(float(at[worst + 1]), seen.whole_run.began)
            complaints.append(("", f"the clock was stepped by {1000 * steps[worst]:+.0f} ms at {when}"))
    backwards = _backwards(seen.every)
    if backwards:
        complaints.append(("", f"{backwards} requests have times that run backwards"))
    remedy = "let the clock be slewed, not stepped, while a load runs (chrony: makestep only at the start), and repeat"
    if not complaints and wall.size < 2:
        return unknown(name, "the client's clock was not looked at")
    return check(name, f"no step larger than {milliseconds(seen.limits.clock_step_seconds)}", remedy, complaints)


def _backwards(requests: Requests) -> int:
    chain = [requests.sent, requests.first_byte, requests.first_token, requests.last_token, requests.ended]
    wrong = np.zeros(len(requests), dtype=bool)
    last = chain[0]
    for times in chain[1:]:
        there = np.isfinite(times)
        wrong |= there & (times < last - 1e-6)
        last = np.where(there, times, last)
    # A request is sent when it is due or later.
    return int((wrong | (requests.due > requests.sent + 0.001)).sum())


def pause(seen: Seen) -> Check:
    """A client that was stopped: each pause touches all that was under way, and what it should have sent."""
    name = "client_pause"
    if not seen.client.lag.size:
        return unknown(name, "the client's event loop was not watched")
    complaints = []
    for step in seen.counted.steps:
        requests = seen.step(step)
        hit = np.zeros(len(requests), dtype=bool)
        longest = Span(0.0, 0.0)
        for span in seen.pauses:
            touched = requests.touched(span.began, span.ended)
            hit |= touched
            if touched.any() and span.seconds > longest.seconds:
                longest = span
        if hit.mean() > seen.limits.touched_share:
            when = clock_time(longest.began, seen.whole_run.began)
            words = f"the event loop stood still for {milliseconds(longest.seconds)} at {when}; "
            complaints.append((step, words + f"{share(float(hit.mean()))} of the requests were under way"))
    remedy = "keep the client from being stopped (SIGSTOP, a suspended machine, blocking calls in its event loop)"
    return check(name, f"longest lag {milliseconds(float(seen.client.lag.max()))}", remedy, complaints)


def slow(seen: Seen) -> Check:
    """A client that does not keep up: its event loop runs late again and again."""
    name = "client_event_loop"
    if not seen.client.lag.size:
        return unknown(name, "the client's event loop was not watched")
    complaints, worst = [], 0.0
    for step in seen.counted.steps:
        requests = seen.step(step)
        at, lag = seen.client.lag_at, seen.client.lag
        there = (at >= requests.sent.min()) & (at <= requests.ended.max()) & (lag < seen.limits.pause_seconds)
        if not there.any():
            continue
        late = _weighed(lag[there])
        worst = max(worst, late)
        most = _most(seen.limits.lag_seconds, seen.limits.lag_share, requests)
        if late > most:
            complaints.append((step, f"event loop {milliseconds(late)} late at P99, at most {milliseconds(most)}"))
    return check(name, f"event loop {1000 * worst:.1f} ms late at P99", _LAG_REMEDY, complaints)


def _weighed(lag: Floats) -> float:
    """P99 of the lag over time, not over looks: a look that came 90 ms late stands for a hundred milliseconds."""
    ordered = np.sort(lag)
    passed = np.cumsum(ordered + PERIOD_SECONDS)
    return float(ordered[np.searchsorted(passed, 0.99 * passed[-1])])


def sends(seen: Seen) -> Check:
    """A schedule that was not kept: requests that could have been sent and were sent late, without a pause."""
    name = "client_send_lag"
    complaints, worst, looked = [], 0.0, False
    for step in seen.counted.steps:
        requests = seen.step(step)
        own = not_held_back(requests)
        late = (own.sent - own.due)[np.isfinite(own.due) & seen.undisturbed(own)]
        if not late.size:
            continue
        looked = True
        lag = float(np.quantile(late, 0.99))
        worst = max(worst, lag)
        most = _most(seen.limits.send_lag_seconds, seen.limits.lag_share, requests)
        if lag > most:
            complaints.append((step, f"sent {milliseconds(lag)} late at P99, at most {milliseconds(most)}"))
    if not looked:
        return Check(name, True, "closed loop: nothing was due at a time")
    return check(name, f"sent {1000 * worst:.1f} ms late at P99", _LAG_REMEDY, complaints)


def _most(seconds: float, of_ttft: float, requests: Requests) -> float:
    ttft = requests.ttft[requests.whole]
    return max(seconds, of_ttft * float(np.median(ttft))) if ttft.size else seconds


def processors(seen: Seen) -> Check:
    """Processor time that the client did not get: stolen, throttled, slow by governor, or taken by others."""
    name, client, limits = "client_processor", seen.client, seen.limits
    complaints = []
    if (client.steal or 0.0) > limits.steal_share:
        complaints.append(("", f"the hypervisor took {share(client.steal or 0.0)} of the processor time (steal)"))
    if (client.throttled or 0.0) > limits.throttled_share:
        complaints.append(("", f"a processor quota held the client back {share(client.throttled or 0.0)} of the time"))
    if slow := set((client.governor or "").split(", ")) - FAST_GOVERNORS:
        complaints.append(("", f"the processors' governor is {', '.join(sorted(slow))}: they wake slowly"))
    if (client.other_work or 0.0) > limits.other_work_share and _lags(seen):
        complaints.append(("", f"other programs used {share(client.other_work or 0.0)} of the client's processors"))
    if not complaints and client.steal is None and client.governor is None:
        return unknown(name, "the client's processors were not watched")
    remedy = (
        "cpupower frequency-set -g performance; without a quota, on a machine of its own "
        "(of one's own virtual processors, where it is virtual)"
    )
    return check(name, f"steal {share(client.steal or 0.0)}, governor {client.governor or 'none'}", remedy, complaints)


def _lags(seen: Seen) -> bool:
    """Whether the client runs late: work of others that it does not feel is no matter."""
    at, lag, run = seen.client.lag_at, seen.client.lag, seen.whole_run
    lag = lag[(lag < seen.limits.pause_seconds) & (at >= run.began) & (at <= run.ended)]
    return bool(lag.size) and _weighed(lag) > seen.limits.lag_seconds


def dropped(seen: Seen) -> Check:
    """Requests of the schedule that never went out, or whose records are missing."""
    name = "client_dropped"
    complaints = []
    if seen.client.not_sent:
        complaints.append(("", f"{seen.client.not_sent} requests of the schedule were not sent"))
    missing = 0
    for step in seen.every.steps:
        numbers = np.unique(seen.every.number[seen.every.step == step])
        lost = int(numbers[-1] - numbers[0] + 1 - numbers.size)
        missing += lost
        if lost > seen.limits.touched_share * numbers.size:
            complaints.append((step, f"{lost} of {numbers.size + lost} numbered requests have no record"))
    remedy = "allow more connections at once, or ask for a lower rate; what is not sent is in no percentile"
    return check(name, f"{len(seen.every)} requests have their record, {missing} have none", remedy, complaints)
