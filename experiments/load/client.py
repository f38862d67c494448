"""Asks an OpenAI-compatible endpoint one question and judges what came. Unix seconds.

Every request has a deadline; one that reaches it counts as hung.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from experiments.answers import (
    CUT,
    HUNG,
    REFUSED,
    UNCLEAR,
    UNREACHABLE,
    Outcome,
    Question,
    Reading,
    judge,
    openai_error,
)

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
