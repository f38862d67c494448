"""A small server in OpenAI's shapes, at the edge of the world; it misbehaves as the question tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

ADDRESS = "127.0.0.70"
_HEAD = "x-cluster-node: compute0\r\nx-cluster-replica: r1\r\nconnection: close\r\n"


def _whole(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n{_HEAD}content-length: {len(body)}\r\n\r\n{body}".encode()


def _event(value: object) -> bytes:
    data = f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _delta(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


async def _behave(how: str, streamed: bool, writer: asyncio.StreamWriter) -> None:
    refusal = json.dumps({"error": {"message": "no engine", "type": "service_unavailable", "code": 503}})
    if how == "refused":
        writer.write(_whole("503 Service Unavailable", refusal))
    elif how == "bare 503":
        writer.write(_whole("503 Service Unavailable", "<html>no server</html>"))
    elif how == "hang":
        await asyncio.sleep(30)
    elif how == "cut before the head":
        writer.transport.abort()
    elif streamed:
        writer.write(
            f"HTTP/1.1 200 OK\r\n{_HEAD}transfer-encoding: chunked\r\n\r\n".encode() + _event(_delta("It is "))
        )
        await writer.drain()
        if how == "cut":
            return
        if how == "hang in the middle":
            await asyncio.sleep(30)
        if how == "error in the stream":
            writer.write(_event({"error": {"message": "engine died", "type": "internal_error"}}))
        elif how == "aborted":
            writer.write(_event(_delta("", "abort")) + _event("[DONE]"))
        elif how != "truncated":
            writer.write(_event(_delta("Rome" if how == "wrong" else "Paris", "stop")) + _event("[DONE]"))
        writer.write(b"0\r\n\r\n")
    else:
        text = "It is Rome" if how == "wrong" else "It is Paris"
        choice = {"message": {"content": text}, "finish_reason": None if how == "truncated" else "stop"}
        body = json.dumps({"choices": [choice]})
        writer.write(_whole("200 OK", body)[: -5 if how == "cut" else None])


@asynccontextmanager
async def _serving() -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            order = json.loads(await reader.readexactly(length))
            await _behave(order["messages"][0]["content"], order["stream"], writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, ADDRESS, 0)
    try:
        yield f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@pytest.fixture
def misbehaving() -> Callable[[], AbstractAsyncContextManager[str]]:
    """A server whose behaviour is the text of the question; gives its base address."""
    return _serving
