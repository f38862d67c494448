"""A run judges itself from both ends: VALID, or INVALID with named causes and what to do. Pure.

The checks stand in the order of cause and effect, so the first one that does not hold is the one to look at: a client
that was stopped also sends late, and an engine that began anew also fails requests.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from experiments.load.health import ClientHealth
from experiments.load.records import RequestRecord
from experiments.verdict import client as ends
from experiments.verdict import demand, engine, steady
from experiments.verdict import requests as columns
from experiments.verdict.limits import Limits
from experiments.verdict.omission import Omission, omission
from experiments.verdict.requests import Flags, Requests
from experiments.verdict.seen import Check, ClientSeen, Seen, Span
from experiments.verdict.server import ServerSeen
from experiments.verdict.steady import Steady
from experiments.verdict.watch import Watched

VALID, INVALID = "VALID", "INVALID"
NOTHING_COUNTED = "no_requests"
# How the runs name the steps of closed loops.
_AT_ONCE = re.compile(r"(?:workers|concurrent)=(\d+)")


class Window(Protocol):
    """A declared fault, as far as it matters here (experiments.schedule.windows.FaultWindow); unix seconds."""

    @property
    def began(self) -> float: ...
    @property
    def healed(self) -> float | None: ...


@dataclass(frozen=True)
class Verdict:
    """The judgement. `checks` in the order of cause and effect; `steps` the steady part of each load step."""

    checks: tuple[Check, ...]
    steps: Mapping[str, Steady]
    omissions: tuple[Omission, ...]

    @property
    def causes(self) -> tuple[Check, ...]:
        """What spoils the run, the first cause first."""
        return tuple(check for check in self.checks if check.ok is False)

    @property
    def unknown(self) -> tuple[Check, ...]:
        """What could not be told, because nothing was collected."""
        return tuple(check for check in self.checks if check.ok is None)

    @property
    def word(self) -> str:
        """VALID or INVALID."""
        return INVALID if self.causes else VALID

    def of_step(self, step: str) -> str:
        """VALID or INVALID for one load step: causes that name other steps do not touch it."""
        return INVALID if any(not cause.steps or step in cause.steps for cause in self.causes) else VALID

    def counts(self, requests: Requests) -> Flags:
        """Which of these requests count: sent in their step's steady part, and no declared warm-up."""
        began = np.asarray(
            [self.steps[step].began if step in self.steps else np.inf for step in requests.step.tolist()]
        )
        return ~requests.warm_up & (requests.sent >= began)

    def to_json(self) -> dict[str, Any]:
        """The shape of results/verdict.json."""
        return {
            "verdict": self.word,
            "causes": [check.to_json() for check in self.causes],
            "unknown": [check.to_json() for check in self.unknown],
            "checks": [check.to_json() for check in self.checks],
            "steps": {name: {**part.to_json(), "verdict": self.of_step(name)} for name, part in self.steps.items()},
            "coordinated_omission": [entry.to_json() for entry in self.omissions],
        }

    def lines(self) -> list[str]:
        """For a terminal: the word, the causes with their remedies, what could not be told."""
        found = [self.word]
        for cause in self.causes:
            found += [f"  {cause.name}: {cause.detail}", f"    {cause.remedy}"]
        cuts = [f"{part.step} {part.cut}" for part in self.steps.values() if part.cut]
        if cuts:
            found.append(f"  warm-up found and cut, requests: {', '.join(cuts)}")
        if self.unknown:
            found.append(f"  not told: {', '.join(check.name for check in self.unknown)}")
        return found


def judge(
    records: Iterable[RequestRecord] | Requests,
    client: ClientHealth,
    server: ServerSeen,
    windows: Iterable[Window] = (),
    *,
    watched: Watched | None = None,
    limits: Limits | None = None,
    beyond: Collection[str] = (),
    concurrent: Mapping[str, int] | None = None,
) -> Verdict:
    """Judge a run. `beyond` are steps that are meant to saturate, `concurrent` what closed loops asked for at
    once where their names (`workers=8`) do not say it.

    `watched` is what the client's machine showed beside the load's own health (experiments.verdict.watch).
    """
    every = records if isinstance(records, Requests) else columns.from_records(records)
    counted = every.where(~every.warm_up)
    if not len(counted):
        words = f"{len(every)} requests, none of them after the warm-up" if len(every) else "no request was sent"
        remedy = "let the steps run longer than their warm-up, and look whether the cluster answers (cluster verify)"
        return Verdict((Check(NOTHING_COUNTED, False, words, remedy),), {}, ())
    chosen = limits or Limits()
    at_once = {step: int(matched[1]) for step in counted.steps if (matched := _AT_ONCE.match(step))}
    health = client_seen(client, watched)
    last = float(every.ended.max())
    seen = Seen(
        counted=counted,
        every=every,
        client=health,
        server=server,
        limits=chosen,
        pauses=ends.pauses(health, chosen.pause_seconds),
        declared=tuple(
            Span(window.began, (last if window.healed is None else window.healed) + chosen.recovery_seconds)
            for window in windows
        ),
        beyond=frozenset(beyond),
        concurrent=at_once | dict(concurrent or {}),
    )
    found = steady.parts(counted)
    late, stall = engine.compilation(seen)
    checks = (
        ends.clock(seen),
        engine.host_clock(seen),
        ends.pause(seen),
        ends.processors(seen),
        ends.slow(seen),
        ends.sends(seen),
        engine.restarts(seen),
        late,
        stall,
        demand.retries(seen),
        demand.failures(seen),
        demand.tenants(seen),
        engine.preemptions(seen),
        engine.kv_ceiling(seen),
        demand.saturation(seen),
        demand.concurrency(seen),
        ends.dropped(seen),
        steady.cold_cache(seen, found),
        steady.trend(seen, found),
        steady.long_enough(seen, found),
    )
    chosen_flags = steady.steady_flags(counted, found)
    omissions = [omission(step, counted.where(chosen_flags & (counted.step == step))) for step in counted.steps]
    return Verdict(checks, found, tuple(entry for entry in omissions if entry is not None))


def client_seen(health: ClientHealth, watched: Watched | None) -> ClientSeen:
    """The load's own health and the machine's, as one."""
    more = watched or Watched()
    return ClientSeen(
        lag_at=np.asarray(health.loop_lag_at, dtype=float),
        lag=np.asarray(health.loop_lag, dtype=float),
        wall_at=np.asarray(more.wall_at, dtype=float),
        wall=np.asarray(more.wall, dtype=float),
        steal=health.steal,
        throttled=more.throttled,
        other_work=more.other_work,
        governor=health.governor,
        not_sent=health.not_sent,
    )
