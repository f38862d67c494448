"""Puts a constant load on an OpenAI-compatible endpoint and keeps what became of every request.

Bounded in time and in number. Unix seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from experiments.answers import RIGHT, Outcome, Question
from experiments.load.client import Endpoint, ask, clock

# After a failure a worker waits: an endpoint that refuses at once would be asked thousands of times a second.
PAUSE_AFTER_FAILURE_SECONDS = 0.5


@dataclass
class Load:
    """A load that runs until it is stopped: `concurrent` workers that ask one question after the other.

    With `rate` (requests a second) requests start by the clock instead, whether or not earlier ones ended, up to
    `concurrent` at once; `not_sent` counts those that found no place. Every second request is streamed.
    """

    session: httpx.AsyncClient
    endpoint: Endpoint
    questions: Sequence[Question]
    concurrent: int
    deadline_seconds: float
    rate: float = 0.0
    most_requests: int = 1_000_000
    outcomes: list[Outcome] = field(default_factory=list)
    not_sent: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._stopped = asyncio.Event()
        # number -> when it started; what is under way has no outcome yet.
        self.under_way: dict[int, float] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Load while the block runs; at its end the requests under way come to theirs, by their deadlines."""
        workers = self.concurrent if not self.rate else 0
        tasks = [asyncio.create_task(self._work()) for _ in range(workers)]
        if self.rate:
            tasks.append(asyncio.create_task(self._by_the_clock()))
        try:
            yield self
        finally:
            self._stopped.set()
            await asyncio.gather(*tasks)

    async def _work(self) -> None:
        while not self._stopped.is_set():
            outcome = await self._one()
            if outcome is None:
                return
            if outcome.kind != RIGHT:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), PAUSE_AFTER_FAILURE_SECONDS)

    async def _by_the_clock(self) -> None:
        due = clock()
        async with asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                if len(self.under_way) < self.concurrent:
                    group.create_task(self._one())
                    await asyncio.sleep(0)
                else:
                    self.not_sent += 1
                due += 1 / self.rate
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), max(due - clock(), 0))

    async def _one(self) -> Outcome | None:
        number = next(self._numbers)
        if number >= self.most_requests:
            return None
        self.under_way[number] = clock()
        try:
            outcome = await ask(
                self.session,
                self.endpoint,
                # Pairs, so that every question is asked both ways whatever their number is.
                self.questions[number // 2 % len(self.questions)],
                streamed=number % 2 == 0,
                deadline_seconds=self.deadline_seconds,
                number=number,
            )
        finally:
            del self.under_way[number]
        self.outcomes.append(outcome)
        return outcome
