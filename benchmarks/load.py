"""A client that puts a constant load on an OpenAI-compatible endpoint and keeps what became of every request.

Every request has a deadline; one that reaches it counts as hung. Bounded in time and in number. Unix seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.answers import (
    CUT,
    HUNG,
    REFUSED,
    RIGHT,
    UNCLEAR,
    UNREACHABLE,
    Outcome,
    Question,
    Reading,
    judge,
    openai_error,
)

# After a failure a worker waits: an endpoint that refuses at once would be asked thousands of times a second.
PAUSE_AFTER_FAILURE_SECONDS = 0.5
# One clock for all records: unix seconds that no correction of the system's clock moves within a run.
_ANCHOR = time.time() - time.monotonic()


def clock() -> float:
    """Unix seconds, monotonic within this process."""
    return _ANCHOR + time.monotonic()


@dataclass(frozen=True)
class Endpoint:
    """Where questions go: base address up to and with /v1, the model, and the key where one is wanted."""

    url: str
    model: str
    key: str = ""


def headers(endpoint: Endpoint) -> dict[str, str]:
    """What a request to this endpoint carries."""
    return {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


@contextlib.asynccontextmanager
async def client(connections: int = 64) -> AsyncIterator[httpx.AsyncClient]:
    """A client without time limits of its own, without proxies: each request has its deadline."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as session:  # noqa: S113
        yield session


async def ask(
    session: httpx.AsyncClient,
    endpoint: Endpoint,
    question: Question,
    *,
    streamed: bool,
    deadline_seconds: float,
    number: int = 0,
) -> Outcome:
    """Ask once and judge what came. Never raises for what a server does or does not do."""
    reading = Reading()
    heads: dict[str, str] = {}
    started = clock()
    first_byte: float | None = None
    kind, detail = HUNG, f"no end within {deadline_seconds:g} s"
    try:
        async with (
            asyncio.timeout(deadline_seconds),
            session.stream(
                "POST",
                f"{endpoint.url}/chat/completions",
                json=_body(endpoint, question, streamed),
                headers=headers(endpoint),
            ) as response,
        ):
            reading.status = response.status_code
            heads = dict(response.headers)
            body = b""
            if reading.status == 200 and streamed:
                async for line in response.aiter_lines():
                    first_byte = first_byte or clock()
                    reading.stream_line(line)
            else:
                async for piece in response.aiter_raw():
                    first_byte = first_byte or clock()
                    body += piece
            if reading.status == 200:
                if not streamed:
                    reading.whole(body)
                kind, detail = judge(question, reading)
            else:
                said = openai_error(body)
                kind = REFUSED if said else UNCLEAR
                detail = f"{reading.status} {said or body[:120].decode(errors='replace')}"
    except TimeoutError:
        pass
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        kind, detail = UNREACHABLE, f"{type(error).__name__} {error}"
    except httpx.HTTPError as error:
        kind, detail = CUT, f"{type(error).__name__} {error}"
    return Outcome(
        number=number,
        question=question.text,
        streamed=streamed,
        started=started,
        first_byte=first_byte,
        ended=clock(),
        status=reading.status,
        node=heads.get("x-cluster-node", ""),
        replica=heads.get("x-cluster-replica", ""),
        kind=kind,
        detail=detail,
        answer=reading.text,
    )


def _body(endpoint: Endpoint, question: Question, streamed: bool) -> dict[str, object]:
    return {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": question.text}],
        "max_tokens": question.max_tokens,
        "temperature": 0,
        "stream": streamed,
    }


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
