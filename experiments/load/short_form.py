"""A load in a few words, as `cluster bench` takes them: into steps, sent, and told. Seconds, requests a second."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load import event_loop, generator, lengths, sweep
from experiments.load import trace as traces
from experiments.load.arrivals import POISSON, Arrivals, named
from experiments.load.client import Endpoint
from experiments.load.figures import FORMAT, by_step
from experiments.load.health import ClientHealth
from experiments.load.objectives import Objectives
from experiments.load.prompts import PromptSource, Synthetic
from experiments.load.records import RecordWriter, RequestRecord
from experiments.load.steps import Step
from experiments.load.vllm_bench import as_vllm_bench


@dataclass(frozen=True)
class Asked:
    """What is wanted. With `rates` an open loop for each, with `users` a closed one, with `trace` its replay.

    `sweep_from` raises the rate from there until it is not held. Lengths are written as experiments.load.lengths reads
    them. `golden`: the question that is asked among the others, with its right answer.
    """

    rates: tuple[float, ...] = ()
    users: tuple[int, ...] = ()
    sweep_from: float = 0.0
    trace: Path | None = None
    trace_unit_seconds: float = 1.0
    trace_block_tokens: int = traces.BLOCK_TOKENS
    speed: float = 1.0
    arrivals: str = POISSON
    burstiness: float = 0.0
    duration_seconds: float = 30.0
    requests: int = 0
    warm_up_seconds: float = 5.0
    input_tokens: str = "128"
    output_tokens: str = "64"
    turns: str = "1"
    groups: int = 0
    prefix_tokens: int = 0
    golden: Question | None = None
    seed: int = 0
    objectives: Objectives = field(default_factory=dict)

    def steps(self) -> list[Step]:
        """The steps, but those of a sweep; ExperimentError when none or several ways are asked for."""
        ways = [bool(self.rates), bool(self.users), bool(self.sweep_from), self.trace is not None]
        if sum(ways) != 1:
            raise ExperimentError("give one of: rates, users, the first rate of a sweep, or a trace")
        if self.trace is not None:
            read = traces.read(self.trace, seconds_a_unit=self.trace_unit_seconds, block_tokens=self.trace_block_tokens)
            made = [self._step(f"trace={self.trace.name}", read.arrivals(self.speed), prompts=read)]
        elif self.users:
            made = [self._step(f"users={number}", None, concurrent=number) for number in self.users]
        else:
            made = [self.at(rate) for rate in (self.rates or (self.sweep_from,))]
        for step in made:
            step.check()
        return [] if self.sweep_from else made

    def at(self, rate: float) -> Step:
        """The open loop of one rate."""
        return self._step(f"rate={rate:g}", named(self.arrivals, rate, self.burstiness))

    def _step(
        self, name: str, when: Arrivals | None, *, concurrent: int = 0, prompts: PromptSource | None = None
    ) -> Step:
        replayed = prompts is not None
        return Step(
            name=name,
            arrivals=when,
            duration_seconds=0.0 if replayed else self.duration_seconds,
            requests=self.requests,
            concurrent=concurrent,
            prompts=prompts
            or Synthetic(
                lengths.parse(self.input_tokens),
                turns=lengths.parse(self.turns),
                groups=self.groups,
                prefix_tokens=self.prefix_tokens,
                golden=self.golden,
            ),
            output_lengths=lengths.parse(self.output_tokens),
            warm_up_seconds=0.0 if replayed else self.warm_up_seconds,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Done:
    """What came of it: exact records, the points of a sweep, how the client kept up, whether it was stopped."""

    asked: Asked
    records: Sequence[RequestRecord]
    points: Sequence[sweep.Point]
    health: ClientHealth
    stopped: bool

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Figures by step."""
        return by_step(self.records, self.asked.objectives)

    def to_json(self) -> dict[str, Any]:
        """Figures by step, the sweep and the client, as plain data."""
        found: dict[str, Any] = {
            "format": FORMAT,
            "objectives": dict(self.asked.objectives),
            "steps": self.steps,
            "client": {
                "limit": sweep.client_limit(self.health),
                "steal": self.health.steal,
                "processor": self.health.processor,
                "governor": self.health.governor,
                "not_sent": self.health.not_sent,
            },
            "stopped": self.stopped,
        }
        if self.asked.sweep_from:
            found["sweep"] = {
                "points": [point.to_json() for point in self.points],
                "highest": sweep.highest(self.points),
            }
        return found


def measure(
    endpoint: Endpoint, asked: Asked, *, to: Path | None = None, begun: Callable[[Step], None] = lambda step: None
) -> Done:
    """Send it, from a loop of its own, until it ends or Ctrl-C, once: then what is there counts. Twice ends it at once.

    With `to`, a directory: requests.parquet, summary.json and one vllm_bench-STEP.json a step. ExperimentError for what
    cannot be asked, before anything is sent, and for a disk that takes no more.
    """
    steps = asked.steps()
    if to is None:
        return event_loop.run(_measure(endpoint, asked, steps, None, begun))
    with RecordWriter(to / "requests.parquet") as writer:
        done = event_loop.run(_measure(endpoint, asked, steps, writer, begun))
    try:
        _keep(to, endpoint, done)
    except OSError as error:
        raise ExperimentError(f"{to}: {error.strerror}; requests.parquet has all samples") from None
    return done


async def _measure(
    endpoint: Endpoint,
    asked: Asked,
    steps: Sequence[Step],
    writer: RecordWriter | None,
    begun: Callable[[Step], None],
) -> Done:
    records: list[RequestRecord] = []
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def write(record: RequestRecord) -> None:
        records.append(record)
        if writer is not None:
            writer.write(record)

    def stopped() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # the second one is Python's own

    loop.add_signal_handler(signal.SIGINT, stopped)
    try:
        points: list[sweep.Point] = []
        if asked.sweep_from:
            points, health = await sweep.sweep(
                endpoint,
                asked.at,
                first=asked.sweep_from,
                objectives=asked.objectives,
                write=write,
                stop=stop,
                begun=begun,
            )
        else:
            health = await generator.run(endpoint, steps, write=write, stop=stop, begun=begun)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return Done(asked, records, points, health, stop.is_set())


def _keep(to: Path, endpoint: Endpoint, done: Done) -> None:
    (to / "summary.json").write_text(json.dumps(done.to_json(), indent=1) + "\n")
    date = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    known = {step.name: step for step in done.asked.steps()}
    for name in dict.fromkeys(record.step for record in done.records):
        step = known.get(name) or done.asked.at(float(name.partition("=")[2]))
        shaped = as_vllm_bench(
            [record for record in done.records if record.step == name],
            model=endpoint.model,
            date=date,
            arrivals=step.arrivals,
            concurrent=step.concurrent,
            objectives=done.asked.objectives,
        )
        (to / f"vllm_bench-{name}.json").write_text(json.dumps(shaped) + "\n")
