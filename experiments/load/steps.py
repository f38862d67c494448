"""One step of a load: what is asked, when, how long. Checked before anything is sent. Seconds."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from experiments.errors import ExperimentError
from experiments.load.arrivals import Arrivals, Replay
from experiments.load.lengths import Lengths, fixed
from experiments.load.prompts import PromptSource, Synthetic

DEADLINE_SECONDS = 600.0


@dataclass(frozen=True)
class Step:
    """With `arrivals` an open loop: each request is sent when it is due, whether or not earlier ones ended.

    Without, a closed loop: `concurrent` users who ask one after the other. In an open loop `concurrent` is the most at
    once, 0 for as many as come; a request that finds no place waits, and its `due` stays. `duration_seconds` and
    `requests` bound what comes after the warm-up, whichever ends first; 0 is no bound. A trace ends by itself.
    """

    name: str
    arrivals: Arrivals | None = None
    duration_seconds: float = 0.0
    requests: int = 0
    concurrent: int = 0
    prompts: PromptSource = field(default_factory=lambda: Synthetic(fixed(128)))
    output_lengths: Lengths = field(default_factory=lambda: fixed(128))
    warm_up_seconds: float = 0.0
    seed: int = 0
    streamed: bool = True
    # vLLM's word for: go on to the asked length. Answers that are judged end where the model ends them.
    ignore_end: bool = True
    deadline_seconds: float = DEADLINE_SECONDS

    def check(self) -> None:
        """ExperimentError for a step that cannot be."""
        given = (self.duration_seconds, self.warm_up_seconds, self.deadline_seconds)
        if not all(0 <= value < math.inf for value in given) or self.requests < 0 or self.concurrent < 0:
            raise ExperimentError(f"step {self.name}: a length, number or time is below 0 or no number")
        if not self.deadline_seconds:
            raise ExperimentError(f"step {self.name}: a deadline of 0 s; every request would count as hung")
        if self.arrivals is None and not self.concurrent:
            raise ExperimentError(f"step {self.name}: neither arrivals nor concurrent users; give one of them")
        if not (self.duration_seconds or self.requests or isinstance(self.arrivals, Replay)):
            raise ExperimentError(f"step {self.name}: no end; give a duration or a number of requests")

    def schedule(self) -> list[float]:
        """When requests are due in an open loop: seconds from the step's begin, the warm-up's first."""
        assert self.arrivals is not None  # noqa: S101 (a closed loop has no schedule)
        draw = random.Random(f"{self.seed}/arrivals")
        measured = self.duration_seconds or math.inf
        if isinstance(self.arrivals, Replay):
            times = self.arrivals.times(draw, self.warm_up_seconds + measured)
            before = sum(at < self.warm_up_seconds for at in times)
            return times[: before + self.requests] if self.requests else times
        if self.requests:
            measured = min(measured, self.requests / self.arrivals.rate)
        before_times = self.arrivals.times(draw, self.warm_up_seconds)
        return [*before_times, *(self.warm_up_seconds + at for at in self.arrivals.times(draw, measured))]
