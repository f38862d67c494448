"""Whether what was asked was what was served: saturation, concurrency, other tenants, failures, retries. Pure."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from scipy import stats

from experiments.verdict.requests import Floats, Requests
from experiments.verdict.seen import Check, Seen, check, share, unknown
from experiments.verdict.server import FINISHED, RETRIES, RUNNING, WAITING

# Requests of the cluster itself, which prove every engine (a token each 20 s, a whole proof each two minutes).
PROOFS_A_SECOND = 1 / 20 + 1 / 120
LEAST_FOR_A_RATE = 20


def in_flight(requests: Requests, moments: Floats) -> Floats:
    """How many requests were under way at each moment."""
    begun = np.searchsorted(np.sort(requests.sent), moments, side="right")
    return (begun - np.searchsorted(np.sort(requests.ended), moments, side="right")).astype(float)


def saturation(seen: Seen) -> Check:
    """An open loop whose requests pile up: the servers do not keep up with the rate, and no latency is a steady one."""
    name, complaints, meant = "server_saturated", [], []
    for step in seen.counted.steps:
        requests = seen.step(step)
        if not np.isfinite(requests.due).any() or len(requests) < LEAST_FOR_A_RATE:
            continue
        words = _piles_up(seen, requests)
        if words and step in seen.beyond:
            meant.append(step)
        elif words:
            complaints.append((step, words))
    fine = "requests do not pile up" + (f"; meant to: {', '.join(meant)}" if meant else "")
    remedy = "ask for a lower rate, or name the step as one that is to saturate; its latencies grow with its length"
    return check(name, fine, remedy, complaints)


def _piles_up(seen: Seen, requests: Requests) -> str:
    """Words where the number under way and the time to the first token both rise to the end; "" where not.

    The middle half of the step's sends, by eighths: at the edges a step fills and empties.
    """
    chosen = seen.undisturbed(requests) & requests.whole
    if chosen.sum() < LEAST_FOR_A_RATE:
        return ""
    wanted = np.where(np.isfinite(requests.due), requests.due, requests.sent)
    began, ended = float(wanted.min()), float(wanted.max())
    if ended <= began:
        return ""
    edges = np.linspace(began, ended, 9)
    waits = [
        requests.ttft_from_due[chosen & (wanted >= low) & (wanted <= high)] for low, high in itertools.pairwise(edges)
    ]
    medians = np.asarray([float(np.median(part)) for part in waits if part.size])
    waiting_for_place = in_flight(requests, edges[1:])
    if medians.size < 6:
        return ""
    rising = stats.kendalltau(np.arange(medians.size), medians)
    piled = stats.kendalltau(np.arange(edges.size - 1), waiting_for_place)
    grown = float(medians[-1]) > 2 * float(medians[0])
    if not (grown and rising.statistic > 0.6 and (piled.statistic > 0.4 or _waits(requests))):
        return ""
    rate = len(requests) / (ended - began)
    span = requests.ended[requests.whole]
    served = float((span <= ended).sum()) / (ended - began)
    return (
        f"asked {rate:.3g} requests/s, {served:.3g} ended; under way from {waiting_for_place[0]:.0f} to "
        f"{waiting_for_place[-1]:.0f}, TTFT from {1000 * medians[0]:.0f} to {1000 * medians[-1]:.0f} ms"
    )


def _waits(requests: Requests) -> bool:
    """Whether requests waited for a place among those at once: many sent late, when as many as ever were under way."""
    late = requests.sent - requests.due > 0.005
    if late.sum() < LEAST_FOR_A_RATE / 4:
        return False
    there = in_flight(requests, requests.sent[late])
    return bool((there >= 0.98 * in_flight(requests, requests.sent).max()).mean() > 0.8)


def not_held_back(requests: Requests) -> Requests:
    """Requests that did not wait for a place among those at once: what they were late by is the client's."""
    if not np.isfinite(requests.due).any() or not _waits(requests):
        return requests
    there = in_flight(requests, requests.sent)
    return requests.where(there < 0.98 * there.max())


def concurrency(seen: Seen) -> Check:
    """Whether engines ran as many requests at once as a closed loop asked for."""
    name, complaints, found = "concurrency", [], []
    running, waiting = seen.server.series(RUNNING), seen.server.series(WAITING)
    for step, asked in seen.concurrent.items():
        requests = seen.step(step)
        if not len(requests) or not asked or np.isfinite(requests.due).any():
            continue
        began, ended = float(requests.sent.min()), float(requests.sent.max())
        middle = np.linspace(began, ended, 101)[10:91]
        reached = float(np.median(in_flight(requests, middle)))
        found.append(f"{step} {reached:.0f} of {asked}")
        if reached < seen.limits.rate_share * asked - 0.5:
            complaints.append((step, f"{reached:.0f} of {asked} requests were under way at once"))
        looks = [float(np.median(s.during(began, ended).value)) for s in running if s.during(began, ended).at.size > 2]
        queued = [float(np.median(s.during(began, ended).value)) for s in waiting if s.during(began, ended).at.size > 2]
        if looks and sum(queued) > 0 and sum(looks) < seen.limits.rate_share * asked and step not in seen.beyond:
            words = f"engines ran {sum(looks):.0f} at once of {asked} asked for, {sum(queued):.0f} waited"
            complaints.append((step, words))
    remedy = "ask for as many at once as the engines run (max_num_seqs, KV cache), or name the step as one to saturate"
    return check(name, ", ".join(found) or "open loop: no number at once was asked for", remedy, complaints)


def tenants(seen: Seen) -> Check:
    """Requests at the engines that are not this run's: somebody else uses the cluster."""
    name, span = "other_tenant", seen.whole_run
    began = float(seen.every.sent.min())
    finished = seen.server.total(FINISHED, began, span.ended)
    running = seen.server.series(RUNNING)
    if finished is None and not running and not seen.server.passed:
        return unknown(name, "neither the engines' own numbers of requests nor the gateway's log were collected")
    words = _strangers(seen) or (_more_ended(seen, finished) if finished is not None else "") or _more_running(seen)
    complaints = [("", words)] if words else []
    remedy = "let nobody else use the cluster while it is measured (cluster status shows requests), and repeat"
    fine = "all was this run's" if finished is None else f"engines ended {finished:.0f}, ours {len(seen.every)}"
    return check(name, fine, remedy, complaints)


def _more_ended(seen: Seen, finished: float) -> str:
    """Words where the engines ended more requests than ours, their own proofs and what was tried twice."""
    engines = max(len(seen.server.series(FINISHED)), 1)
    seconds = seen.whole_run.ended - float(seen.every.sent.min())
    proofs = 2 * engines * (1 + seconds * PROOFS_A_SECOND)
    ours = len(seen.every) + int(np.maximum(seen.every.attempts - 1, 0).sum())
    if finished <= ours * 1.02 + proofs + 3 * np.sqrt(proofs):
        return ""
    return f"engines ended {finished:.0f} requests, {len(seen.every)} were ours: {finished - ours:.0f} are others'"


def _strangers(seen: Seen) -> str:
    """Completions in the gateway's log that carry the trace of none of our requests."""
    ours = set(seen.every.trace.tolist())
    run = seen.whole_run
    if "" in ours:
        return ""
    others = [
        passed for passed in seen.server.passed if run.began <= passed.at <= run.ended and passed.trace not in ours
    ]
    if len(others) <= max(seen.limits.touched_share * len(seen.every), 2):
        return ""
    return f"the gateway passed {len(others)} requests on that were not ours, beside {len(seen.every)} that were"


def _more_running(seen: Seen) -> str:
    """Looks in which the engines ran more than was under way here, a second before or after."""
    looks: Counter[int] = Counter()
    series = seen.server.series(RUNNING)
    for entry in series:
        inside = entry.during(seen.whole_run.began, seen.whole_run.ended)
        # One look a second of each engine: the last of them.
        looks.update({round(at): value for at, value in zip(inside.at.tolist(), inside.value.tolist(), strict=True)})
    if len(looks) < 5:
        return ""
    moments = np.asarray(sorted(looks), dtype=float)
    ours = np.max([in_flight(seen.every, moments + shift) for shift in (-1.0, -0.5, 0.0, 0.5, 1.0)], axis=0)
    theirs = np.asarray([looks[int(moment)] for moment in moments]) - ours
    more = theirs > len(series) + 1
    if more.mean() <= 0.2:
        return ""
    usual = float(np.median(theirs[more]))
    return f"engines ran {usual:.0f} requests more than ours in {share(float(more.mean()))} of looks"


def failures(seen: Seen) -> Check:
    """Requests that got no whole answer, outside of declared faults: their latency is in no percentile."""
    name, complaints = "failed_requests", []
    for step in seen.counted.steps:
        requests = seen.step(step)
        failed = requests.failed
        excused = [seen.is_declared(*times) for times in zip(requests.sent, requests.ended, strict=True)]
        counted = failed & ~np.asarray(excused, dtype=bool)
        if counted.mean() > seen.limits.touched_share:
            kinds = Counter(requests.kind[counted].tolist())
            said = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(3))
            complaints.append((step, f"{counted.sum()} of {len(requests)} requests: {said}"))
    remedy = "cluster verify names what does not answer; the details stand in results/requests.parquet"
    return check(name, f"{seen.counted.failed.sum()} of {len(seen.counted)} failed", remedy, complaints)


def retries(seen: Seen) -> Check:
    """Requests that the gateway gave to another engine after the first one failed: their latency is two requests'."""
    name, complaints = "hidden_retries", []
    for step in seen.counted.steps:
        requests = seen.step(step)
        times = zip(requests.sent, requests.ended, strict=True)
        twice = (requests.attempts > 1) & ~np.asarray([seen.is_declared(*span) for span in times], dtype=bool)
        if twice.mean() > seen.limits.touched_share:
            complaints.append((step, f"{twice.sum()} of {len(requests)} requests were tried more than once"))
    span = seen.whole_run
    passed = [one for one in seen.server.passed if span.began <= one.at <= span.ended]
    again = [one for one in passed if one.retries and not seen.is_declared(one.at, one.at)]
    if not complaints and len(again) > seen.limits.touched_share * len(passed):
        words = f"{len(again)} of {len(passed)} requests were given to a second engine, as the gateway's log says"
        complaints.append(("", words))
    if not complaints and not passed and not seen.declared:
        tried = [seen.server.total(metric, span.began, span.ended) for metric in RETRIES]
        counted = sum(value for value in tried if value is not None)
        if counted > seen.limits.touched_share * len(seen.counted):
            complaints.append(("", f"the gateway counted {counted:.0f} retries among {len(seen.counted)} requests"))
        if all(value is None for value in tried) and not (seen.counted.attempts > 0).any():
            return unknown(name, "neither the gateway's header, log nor metrics say how often requests were tried")
    remedy = "cluster status names engines that fail or refuse; mend them, and repeat"
    return check(name, "no request was tried twice", remedy, complaints)
