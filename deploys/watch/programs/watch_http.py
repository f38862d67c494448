"""HTTP as the watch service needs it: a GET with one deadline over all of it, and a small server for GETs.

Standard library only, one thread, bounded in every direction: size of heads and bodies, time, connections. A peer that
hangs, drips or floods costs its own request and nothing else.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

HEAD_BYTES = 16_384
BODY_BYTES = 4 * 1024**2
HEAD_SECONDS = 30.0
SEND_SECONDS = 10.0
CONNECTIONS = 256

_REASONS = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

Why = Literal["refused", "unreachable", "silent", "broken"]


class NoAnswer(Exception):
    """No usable answer. `why`: nobody listens, no way there, connected and nothing came, or not what HTTP says."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why


async def get(address: str, port: int, path: str, *, seconds: float, token: str = "") -> tuple[int, bytes]:
    """Status and body of one GET. `seconds` covers connecting, asking and reading; NoAnswer for nothing usable."""
    # HTTP/1.0, so that no server answers in chunks; the connection ends with the answer.
    lines = [f"GET {path} HTTP/1.0", f"Host: {address}", "Accept: */*", "Connection: close"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port, limit=HEAD_BYTES)
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            await writer.drain()
            return await _read_answer(reader)
    except TimeoutError:
        raise NoAnswer("silent" if writer else "unreachable", f"no answer within {seconds:g} s") from None
    except ConnectionRefusedError:
        raise NoAnswer("refused", f"nothing listens on {address}:{port}") from None
    except OSError as error:
        raise NoAnswer("broken" if writer else "unreachable", str(error) or type(error).__name__) from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise NoAnswer("broken", f"{address}:{port} does not answer as HTTP: {str(error)[:100]}") from None
    finally:
        if writer is not None:
            writer.transport.abort()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1]) if first.startswith("HTTP/1.") and " " in first else 0
    if not 100 <= status <= 599:
        raise ValueError(f"first line {first[:60]!r}")
    headers = _headers(rest)
    length = int(headers.get("content-length", -1))
    if length > BODY_BYTES:
        raise ValueError(f"{length} bytes are more than {BODY_BYTES}")
    if length >= 0:
        return status, await reader.readexactly(length)
    body = b""
    while part := await reader.read(65_536):
        body += part
        if len(body) > BODY_BYTES:
            raise ValueError(f"more than {BODY_BYTES} bytes")
    return status, body


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


@dataclass(frozen=True)
class Request:
    """A request without a body; header names are in lower case, the path is without its query."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Response:
    """An answer; a body of bytes is sent with its length, a generator is streamed until it ends or the peer is gone."""

    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Response]


class Server:
    """Listens until closed; what `answer` raises becomes a 500."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> None:
        """Bind; OSError when the address or port cannot be had."""
        self._server = await asyncio.start_server(self._accept, address, port, limit=HEAD_BYTES, backlog=CONNECTIONS)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # gone, or too slow: its loss
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow on this connection."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await self._send(writer, Response(431), keep=False)
            return False
        first, *rest = head.decode("latin-1").split("\r\n")
        words, headers = first.split(" "), _headers(rest)
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            await self._send(writer, Response(400), keep=False)
            return False
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and not has_body
        request = Request(words[0], words[1].partition("?")[0], headers)
        if request.method not in ("GET", "HEAD"):
            response = Response(405, headers={"Allow": "GET, HEAD"})
        else:
            try:
                response = self._answer(request)
            except Exception as error:  # one bad answer must not end the service
                print(f"{request.path}: {type(error).__name__}: {error}", flush=True)
                response = Response(500)
        return await self._send(writer, response, keep=keep, head_only=request.method == "HEAD")

    async def _send(
        self, writer: asyncio.StreamWriter, response: Response, *, keep: bool, head_only: bool = False
    ) -> bool:
        body, told = response.body, dict(response.headers)
        if response.status >= 400 and not body:
            reason = _REASONS.get(response.status, "").lower() or "refused"
            kind = "invalid_request_error" if response.status < 500 else "server_error"
            error = {"message": reason, "type": kind, "param": None, "code": response.status}
            body, told = json.dumps({"error": error}).encode(), {**told, "Content-Type": "application/json"}
        keep = keep and isinstance(body, bytes)
        headers = {**told, "Connection": "keep-alive" if keep else "close"}
        if isinstance(body, bytes):
            headers["Content-Length"] = str(len(body))
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if isinstance(body, bytes):
            if not head_only:
                writer.write(body)
            await _drain(writer)
            return keep
        if not head_only:
            async with contextlib.aclosing(body):
                async for part in body:
                    writer.write(part)
                    await _drain(writer)
        return False


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await writer.drain()
