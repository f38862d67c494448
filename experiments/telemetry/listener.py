"""Asks gateway and replicas all the time while a cluster starts, and keeps what they said. Seconds since the start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import httpx

from experiments.answers import RIGHT, Question
from experiments.load.client import Endpoint, ask, clock
from experiments.telemetry.starts import ANSWER, GATEWAY, READY, Event

POLL_SECONDS = 0.25
READY_TIMEOUT_SECONDS = 2.0


class Listener:
    """Asks gateway and replicas while a start goes on, and keeps what they said."""

    def __init__(self, endpoint: Endpoint, golden: Question, begun: float, deadline: float) -> None:
        self.endpoint, self.golden, self.begun, self.deadline = endpoint, golden, begun, deadline
        self.events: list[Event] = []
        self.stopped = asyncio.Event()
        self.command_seconds: float | None = None

    def complete(self, nodes: list[str]) -> bool:
        """Whether the gateway answered rightly and every replica answered after it had said that it is ready."""
        right = {event.source for event in self.events if event.kind == ANSWER and event.right}
        return {GATEWAY, *nodes} <= right

    async def gateway(self, session: httpx.AsyncClient) -> None:
        """The golden question, again and again."""
        while not self.stopped.is_set():
            await self._ask(session, self.endpoint, GATEWAY)
            await self._pause()

    async def replica(self, session: httpx.AsyncClient, node: str, places: Sequence[str]) -> None:
        """Whether a node's replica is ready at one of `places`; each time that it says so anew, the golden question."""
        ready = False
        while not self.stopped.is_set():
            url, status, reason = await self._ready(session, places)
            if url:
                self.events.append(Event(clock() - self.begun, node, READY, status, status == 200, reason))
            if status == 200 and not ready:
                await self._ask(session, Endpoint(f"{url}/v1", self.endpoint.model), node)
            ready = status == 200
            await self._pause()

    async def _ready(self, session: httpx.AsyncClient, places: Sequence[str]) -> tuple[str, int, str]:
        """Base address, status and words of a replica: of the place that is ready, else of any that answers."""
        found = ("", 0, "")
        for url in places:
            try:
                response = await session.get(f"{url}/cluster/ready", timeout=READY_TIMEOUT_SECONDS)
            except httpx.ConnectError:
                continue
            except httpx.HTTPError as error:
                found = (url, 0, f"{type(error).__name__} {error}")
                continue
            found = (url, response.status_code, response.text[:200])
            if response.status_code == 200:
                break
        return found

    async def _ask(self, session: httpx.AsyncClient, endpoint: Endpoint, source: str) -> None:
        done = await ask(session, endpoint, self.golden, streamed=False, deadline_seconds=self.deadline)
        self.events.append(
            Event(done.ended - self.begun, source, ANSWER, done.status, done.kind == RIGHT, done.detail or done.answer)
        )

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), POLL_SECONDS)
