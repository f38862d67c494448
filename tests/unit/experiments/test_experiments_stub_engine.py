"""The stub engine answers in OpenAI's shapes, and what it says of its own times agrees with a client's clock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from experiments import answers
from experiments.answers import Outcome, Question
from experiments.load.client import Endpoint, ask, client
from experiments.stub_engine import Speed, precise_loop, serve

FIRST, NEXT = 0.2, 0.02


def _with_stub(work: Callable[[httpx.AsyncClient, str], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        server = await serve("127.0.0.70", 0, Speed(FIRST, NEXT, "stub1"))
        url = f"http://127.0.0.70:{server.sockets[0].getsockname()[1]}"
        try:
            async with client() as session:
                return await work(session, url)
        finally:
            server.close()

    with contextlib.closing(precise_loop()) as loop:
        return loop.run_until_complete(run())


@pytest.mark.parametrize("streamed", [True, False])
def test_answers_are_whole_and_never_early(streamed: bool) -> None:
    async def work(session: httpx.AsyncClient, url: str) -> list[Outcome]:
        asked = Endpoint(f"{url}/v1", "stub")
        # One connection for both: a kept connection has to work.
        return [await ask(session, asked, Question("q", 11), streamed=streamed, deadline_seconds=30) for _ in range(2)]

    for outcome in _with_stub(work):
        assert outcome.kind == answers.RIGHT, outcome
        assert outcome.answer == "a " * 11
        assert outcome.node == "stub1"
        assert outcome.first_byte is not None
        whole = FIRST + 10 * NEXT
        # Its promise is a least time; how late it was is the machine's doing, and the stub says it.
        assert outcome.seconds >= whole
        assert outcome.first_byte - outcome.started >= (FIRST if streamed else whole) * 0.95 - 0.001


def test_it_says_how_late_it_was() -> None:
    async def work(session: httpx.AsyncClient, url: str) -> tuple[Any, Any]:
        await ask(session, Endpoint(f"{url}/v1", "stub"), Question("q", 5), streamed=True, deadline_seconds=30)
        return (await session.get(f"{url}/stub/timing")).json(), (await session.get(f"{url}/stub/timing")).json()

    said, again = _with_stub(work)
    assert (said["requests"], said["first"]["tokens"], said["next"]["tokens"]) == (1, 1, 4)
    assert 0 <= said["first"]["p50_ms"] <= said["first"]["most_ms"]
    assert again["first"] == {"tokens": 0, "p50_ms": None, "p99_ms": None, "most_ms": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/cluster/ready", b"", 200),
        ("GET", "/v1/models", b"", 200),
        ("GET", "/nothing", b"", 404),
        ("POST", "/v1/chat/completions", b"{", 400),
    ],
)
def test_other_questions(method: str, path: str, body: bytes, status: int) -> None:
    async def work(session: httpx.AsyncClient, url: str) -> int:
        return (await session.request(method, f"{url}{path}", content=body)).status_code

    assert _with_stub(work) == status
