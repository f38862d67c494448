"""Runs that were never run: records, client health and metrics of an imagined engine, each with one thing wrong.

What a spoiler does to a real run is imitated in all that it would touch, not only in what its check looks at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from experiments import answers
from experiments.load.health import ClientHealth
from experiments.load.records import RequestRecord
from experiments.verdict import Verdict, Watched, from_rows, judge

BEGAN = 1_000_000.0
LOOK_SECONDS = 2.0
NODES = ("compute1", "compute2")
Change = Callable[["Made"], "Made"]


@dataclass(frozen=True)
class Made:
    """All that a judgement is given."""

    records: list[RequestRecord]
    health: ClientHealth
    rows: list[dict[str, Any]]
    logs: list[dict[str, Any]] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def judged(self, **more: Any) -> Verdict:
        server = from_rows(self.rows, self.logs)
        return judge(self.records, self.health, server, watched=self.watched, **more)


@cache
def requests(
    seed: int, rate: float = 20.0, seconds: float = 30.0, workers: int = 0, noise: float = 0.05
) -> tuple[RequestRecord, ...]:
    """Poisson arrivals, or `workers` in a closed loop; a first token after about 60 ms, then one each 10 ms or so."""
    rng = np.random.default_rng(seed)
    records: list[RequestRecord] = []
    if workers:
        free = [BEGAN + 0.01 * worker for worker in range(workers)]
        while min(free) < BEGAN + seconds:
            worker = int(np.argmin(free))
            records.append(_record(rng, len(records), f"workers={workers}", None, free[worker], noise))
            free[worker] = records[-1].ended + 0.0005
    else:
        at = BEGAN
        while (at := at + float(rng.exponential(1 / rate))) < BEGAN + seconds:
            late = float(rng.exponential(0.0003))
            records.append(_record(rng, len(records), f"rate={rate:g}", at, at + late, noise))
    return tuple(records)


def clean(seed: int, *, seconds: float = 30.0, **more: Any) -> Made:
    """Those requests, a client that keeps up, engines that say what they should."""
    rng = np.random.default_rng(1000 + seed)
    records = requests(seed, seconds=seconds, **more)
    return Made(list(records), _health(rng, records), _rows(records), [], _watched(rng, seconds), rng)


@cache
def _rows(records: tuple[RequestRecord, ...]) -> list[dict[str, Any]]:
    return rows_of(records)


def _record(
    rng: np.random.Generator, number: int, step: str, due: float | None, sent: float, noise: float
) -> RequestRecord:
    first = sent + 0.06 * float(np.exp(rng.normal(0, noise))) + float(rng.exponential(0.002))
    gaps = 0.01 * np.exp(rng.normal(0, 0.2, size=int(rng.integers(8, 24))))
    tokens = (first, *(first + np.cumsum(gaps)).tolist())
    return RequestRecord(
        number=number,
        step=step,
        target_rate=None if due is None else float(step.partition("=")[2]),
        due=due,
        sent=sent,
        first_byte=first - 0.0005,
        first_token=first,
        last_token=tokens[-1],
        ended=tokens[-1] + 0.0003,
        token_times=tokens,
        prompt_tokens=64,
        output_tokens=len(tokens),
        finish_reason="length",
        status=200,
        kind=answers.ANSWERED,
        node=NODES[number % 2],
        replica=f"{NODES[number % 2]}-r1",
        attempts=1,
        trace=f"{number:032x}",
    )


def _health(rng: np.random.Generator, records: Sequence[RequestRecord]) -> ClientHealth:
    at = np.arange(BEGAN, max(record.ended for record in records), 0.01)
    due = [record for record in records if record.due is not None]
    return ClientHealth(
        loop_lag=tuple(rng.exponential(0.0003, size=at.size).tolist()),
        loop_lag_at=tuple(at.tolist()),
        send_lag=tuple(record.sent - (record.due or 0.0) for record in due),
        send_lag_at=tuple(record.sent for record in due),
        steal=0.002,
        processor=0.2,
        governor="performance",
    )


def _watched(rng: np.random.Generator, seconds: float) -> Watched:
    at = np.arange(BEGAN, BEGAN + seconds, 0.25)
    # chrony slews by some parts in a million.
    wall = 5e-6 * (at - BEGAN) + rng.normal(0, 2e-5, size=at.size)
    return Watched(tuple(at.tolist()), tuple(wall.tolist()), 0.0, 0.1)


def rows_of(records: Sequence[RequestRecord], *, others: float = 0.0, restarted: float = 0.0) -> list[dict[str, Any]]:
    """Metrics of both engines, a look each two seconds. `others`: requests a second of somebody else, an engine;
    `restarted`: when compute1's process began anew."""
    last = max(record.ended for record in records)
    rows: list[dict[str, Any]] = []
    for node in NODES:
        here = [record for record in records if record.node == node]
        for at in np.arange(BEGAN - LOOK_SECONDS, last + LOOK_SECONDS, LOOK_SECONDS).tolist():
            anew = restarted if node == NODES[0] and restarted and at > restarted else 0.0
            ended = [r for r in here if anew < r.ended <= at and r.kind == answers.ANSWERED]
            more = others * max(at - max(BEGAN, anew), 0.0)
            values = {
                "vllm:request_success_total": len(ended) + more,
                "vllm:generation_tokens_total": sum(r.output_tokens for r in ended) + 16 * more,
                "vllm:num_preemptions_total": 0.0,
                "vllm:num_requests_running": float(sum(r.sent <= at < r.ended for r in here)),
                "vllm:num_requests_waiting": 0.0,
                "vllm:kv_cache_usage_perc": 0.2,
                "process_start_time_seconds": anew or BEGAN - 500.0,
            }
            labels = json.dumps({"instance": f"{node}:8000"})
            rows += [{"at": at, "node": node, "name": n, "labels": labels, "value": v} for n, v in values.items()]
            rows.append({"at": at, "node": node, "name": "node_time_seconds", "labels": "{}", "value": at + 0.01})
    for at in (BEGAN, last):
        labels = json.dumps({"proxy": "engines"})
        name = "haproxy_backend_redispatch_warnings_total"
        rows.append({"at": at, "node": "coordinator", "name": name, "labels": labels, "value": 0.0})
    return rows


def shifted(record: RequestRecord, seconds: float, *, sent: bool = False) -> RequestRecord:
    """All that came, so much later; with `sent` the request too."""

    def later(at: float | None) -> float | None:
        return None if at is None else at + seconds

    return replace(
        record,
        sent=record.sent + seconds * sent,
        first_byte=later(record.first_byte),
        first_token=later(record.first_token),
        last_token=later(record.last_token),
        ended=record.ended + seconds,
        token_times=tuple(at + seconds for at in record.token_times),
    )


def slow_client(made: Made) -> Made:
    """An event loop that has too much to do: everything is seen some tens of milliseconds late, all the time."""
    lags = made.rng.gamma(2.0, 0.012, size=len(made.records)).tolist()
    records = [shifted(record, lag, sent=True) for record, lag in zip(made.records, lags, strict=True)]
    health = replace(
        made.health,
        loop_lag=tuple(np.minimum(made.rng.gamma(2.0, 0.012, size=len(made.health.loop_lag)), 0.12).tolist()),
    )
    return replace(made, records=records, health=health)


def paused_loop(made: Made) -> Made:
    """SIGSTOP for a second: what came meanwhile is seen at its end, what was due is sent then."""
    began, ended = BEGAN + 15.0, BEGAN + 16.0

    def seen(at: float | None) -> float | None:
        return ended if at is not None and began < at < ended else at

    records = []
    for record in made.records:
        if began < record.sent < ended:
            records.append(shifted(record, ended - record.sent + 0.002, sent=True))
            continue
        times = tuple(float(seen(at) or 0.0) for at in record.token_times)
        records.append(
            replace(
                record,
                first_byte=seen(record.first_byte),
                first_token=times[0],
                last_token=times[-1],
                ended=float(seen(record.ended) or 0.0),
                token_times=times,
            )
        )
    looks = [(at, lag) for at, lag in zip(made.health.loop_lag_at, made.health.loop_lag, strict=True)]
    looks = [(at, lag) for at, lag in looks if not began < at < ended] + [(ended, 1.0 - 0.01)]
    looks.sort()
    lags = replace(made.health, loop_lag=tuple(lag for _, lag in looks), loop_lag_at=tuple(at for at, _ in looks))
    return replace(made, records=records, health=lags)


def governor(made: Made) -> Made:
    """Processors that wake slowly: all a little later, and the kernel says why."""
    records = [shifted(record, float(made.rng.gamma(2.0, 0.001))) for record in made.records]
    return replace(made, records=records, health=replace(made.health, governor="powersave"))


def cold_cache(made: Made) -> Made:
    """120 prefixes, met at random: the first request of each computes what the later ones find."""
    seen: set[int] = set()
    records = []
    for record in made.records:
        group = int(made.rng.integers(0, 120))
        cold = shifted(record, 0.0 if group in seen else 0.15)
        records.append(replace(cold, prefix_group=group))
        seen.add(group)
    return replace(made, records=records)


def stalled(made: Made, seconds: float = 2.0) -> Made:
    """compute1 computes nothing for a while."""
    began = BEGAN + 14.0

    def late(record: RequestRecord) -> RequestRecord:
        if record.node != NODES[0] or record.sent > began + seconds or record.ended < began:
            return record
        times = tuple(at if at < began else at + seconds for at in record.token_times)
        moved = None if record.first_byte is None else record.first_byte + seconds * (record.first_byte > began)
        return replace(
            record,
            first_byte=moved,
            first_token=times[0],
            last_token=times[-1],
            ended=record.ended + seconds,
            token_times=times,
        )

    return replace(made, records=[late(record) for record in made.records])


def compiled(made: Made) -> Made:
    """The same, and the engine's log says that it compiled."""
    message = "INFO [backends.py:87] Compiling a graph for dynamic shape takes 1.93 s"
    line = {"at": BEGAN + 15.95, "node": NODES[0], "unit": "", "replica": "", "message": message}
    return replace(stalled(made), logs=[line])


def restarted(made: Made) -> Made:
    """compute1's engine dies: streams are cut, connections refused for three seconds, then a new replica answers."""
    died = BEGAN + 12.0
    records = []
    for record in made.records:
        if record.node != NODES[0] or record.ended < died:
            records.append(record)
        elif record.sent < died:
            records.append(_cut(record, died))
        elif record.sent < died + 3.0:
            records.append(
                RequestRecord(
                    number=record.number,
                    step=record.step,
                    target_rate=record.target_rate,
                    due=record.due,
                    sent=record.sent,
                    ended=record.sent + 0.001,
                    kind=answers.UNREACHABLE,
                )
            )
        else:
            records.append(replace(record, replica=f"{NODES[0]}-r2"))
    return replace(made, records=records, rows=rows_of(records, restarted=died + 2.0))


def _cut(record: RequestRecord, at: float) -> RequestRecord:
    came = tuple(moment for moment in record.token_times if moment < at)
    return replace(
        record,
        kind=answers.CUT,
        ended=at,
        finish_reason="",
        token_times=came,
        first_byte=record.first_byte if came else None,
        first_token=came[0] if came else None,
        last_token=came[-1] if came else None,
        output_tokens=len(came),
    )


def too_short(made: Made) -> Made:
    """Sixty requests: nothing lies beyond the 99th percentile of them."""
    return replace(made, records=made.records[:60], rows=rows_of(made.records[:60]))


def saturated(made: Made) -> Made:
    """Four fifths of the rate are served: each request waits for those before it."""
    records = [shifted(record, 0.25 * ((record.due or record.sent) - BEGAN)) for record in made.records]
    return replace(made, records=records, rows=rows_of(records))


def clock_step(made: Made) -> Made:
    """Somebody sets the clock 0.4 s back in the middle."""
    wall = tuple(
        value - 0.4 * (at > BEGAN + 13) for at, value in zip(made.watched.wall_at, made.watched.wall, strict=True)
    )
    return replace(made, watched=replace(made.watched, wall=wall))


def tenant(made: Made) -> Made:
    """Another one asks the same engines: they end half as many more, and ours come later."""
    records = [shifted(record, float(made.rng.exponential(0.01))) for record in made.records]
    return replace(made, records=records, rows=rows_of(records, others=5.0))


def dropped(made: Made) -> Made:
    """One of thirty requests never went out."""
    records = [record for record in made.records if record.number % 30]
    lost = len(made.records) - len(records)
    return replace(made, records=records, rows=rows_of(records), health=replace(made.health, not_sent=lost))


def retried(made: Made) -> Made:
    """The gateway gave one of twenty requests to a second engine, after the first had let it wait."""
    records = [
        replace(shifted(record, 0.3), attempts=2) if record.number % 20 == 7 else record for record in made.records
    ]
    return replace(made, records=records)


# What was planted -> the check that has to name it.
SPOILERS: dict[str, tuple[Change, str]] = {
    "a slow client": (slow_client, "client_event_loop"),
    "a paused loop": (paused_loop, "client_pause"),
    "a throttled governor": (governor, "client_processor"),
    "a cold prefix cache": (cold_cache, "cold_prefix_cache"),
    "a compile in the middle": (compiled, "late_compilation"),
    "a restart": (restarted, "server_restart"),
    "too short a run": (too_short, "too_short"),
    "a saturated server": (saturated, "server_saturated"),
    "a clock step": (clock_step, "client_clock"),
    "another tenant": (tenant, "other_tenant"),
    "dropped requests": (dropped, "client_dropped"),
    "retries hidden by the gateway": (retried, "hidden_retries"),
}
