"""All that a judgement looks at, and the shape of what it finds. Pure; unix seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.verdict.limits import Limits
from experiments.verdict.requests import Flags, Floats, Requests
from experiments.verdict.server import ServerSeen
from facts.health.result import CheckResult


@dataclass(frozen=True)
class Check(CheckResult):
    """One judgement of a run. `steps` are the load steps that a cause spoils; empty means all of them."""

    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """A stretch of time; unix seconds."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ended - self.began

    def meets(self, began: float, ended: float) -> bool:
        """Whether the two have a moment in common."""
        return self.began <= ended and began <= self.ended


@dataclass(frozen=True)
class ClientSeen:
    """The client's own health while the load ran. Arrays are looks: when, and the value; None: nobody looked.

    - `lag`: seconds by which the event loop ran a timer too late.
    - `wall`: the system's clock less the monotonic one, in seconds from any start.
    - `steal`, `throttled`, `other_work`: shares (0 to 1) of the machine's processor time: taken by the hypervisor, not
      given by a quota, used by programs that are not of this experiment.
    - `governor`: of the processors' frequency, as the kernel names it; "" where there is none.
    - `not_sent`: requests that the schedule wanted and that never went out.
    """

    lag_at: Floats = field(default_factory=lambda: np.empty(0))
    lag: Floats = field(default_factory=lambda: np.empty(0))
    wall_at: Floats = field(default_factory=lambda: np.empty(0))
    wall: Floats = field(default_factory=lambda: np.empty(0))
    steal: float | None = None
    throttled: float | None = None
    other_work: float | None = None
    governor: str | None = None
    not_sent: int = 0


@dataclass(frozen=True)
class Seen:
    """A run: its counted requests (no declared warm-up), all of them, both ends, and what explains what.

    `pauses` are those of the client's event loop; `declared` the stretches in which what the servers do is a fault's
    that the experiment made; `beyond` the steps that are meant to saturate; `concurrent` how many requests at once a
    closed loop's step asked for.
    """

    counted: Requests
    every: Requests
    client: ClientSeen
    server: ServerSeen
    limits: Limits
    pauses: tuple[Span, ...] = ()
    declared: tuple[Span, ...] = ()
    beyond: frozenset[str] = frozenset()
    concurrent: dict[str, int] = field(default_factory=dict)

    @property
    def whole_run(self) -> Span:
        """From the first counted request to the end of the last."""
        return Span(float(self.counted.sent.min()), float(self.counted.ended.max()))

    @property
    def disturbed(self) -> tuple[Span, ...]:
        """Pauses of the client, each with as long again to catch up, and declared faults."""
        caught_up = (Span(span.began, span.ended + span.seconds) for span in self.pauses)
        return (*caught_up, *self.declared)

    def explained(self, began: float, ended: float) -> bool:
        """Whether a pause of the client or a declared fault lies in that time."""
        return any(span.meets(began, ended) for span in self.disturbed)

    def is_declared(self, began: float, ended: float) -> bool:
        """Whether a declared fault lies in that time."""
        return any(span.meets(began, ended) for span in self.declared)

    def step(self, name: str) -> Requests:
        """Counted requests of a step."""
        return self.counted.where(self.counted.step == name)

    def undisturbed(self, requests: Requests) -> Flags:
        """Requests during which neither the client paused nor a declared fault was there."""
        wanted = np.fmin(requests.due, requests.sent)
        found = np.ones(len(requests), dtype=bool)
        for span in self.disturbed:
            found &= (wanted > span.ended) | (requests.ended < span.began)
        return found


def check(name: str, fine: str, remedy: str, complaints: Sequence[tuple[str, str]]) -> Check:
    """A check with its complaints, (step or "", words) each; without one it holds, and says `fine`."""
    if not complaints:
        return Check(name, True, fine)
    said = [f"{step}: {words}" if step else words for step, words in complaints]
    steps = () if any(not step for step, _ in complaints) else tuple(dict.fromkeys(step for step, _ in complaints))
    return Check(name, False, "; ".join(dict.fromkeys(said)), remedy, steps)


def unknown(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(name, None, why)


def milliseconds(seconds: float) -> str:
    """For a line of text."""
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def share(value: float) -> str:
    """For a line of text."""
    return f"{100 * value:.3g} %"


def clock_time(at: float, began: float) -> str:
    """When, counted from the first counted request."""
    return f"{at - began:.1f} s"
