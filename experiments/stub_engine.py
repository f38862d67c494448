"""A stub engine of known speed: answers OpenAI completions as a stream with exact times, and computes nothing.

`python -m experiments.stub_engine ADDRESS PORT --ttft-ms 50 --itl-ms 20`. It stands for an engine where the cost of
what lies before it is measured. Token i is due at (request read) + TTFT + i * ITL, whatever the tokens before it did:
no error adds up. `GET /stub/timing` says how late the tokens were written, which tells whether the machine kept up.
Standard library only, so that any Python can run it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import selectors
import signal
import sys
from collections import deque
from typing import Any

from experiments.stub_room import Room
from experiments.stub_traces import Traces

MODEL = "stub"
SAYS = "a "
KEPT_TIMINGS = 200_000
MOST_BODY_BYTES = 4 * 1024**2
_REASONS = {200: "OK", 404: "Not Found", 411: "Length Required", 413: "Content Too Large", 400: "Bad Request"}


class Speed:
    """How fast the stub answers (seconds), and how late it was."""

    def __init__(
        self,
        first_token: float,
        next_token: float,
        name: str,
        model: str = MODEL,
        token: str = SAYS,
        room: Room | None = None,
    ) -> None:
        self.first_token, self.next_token, self.name, self.model = first_token, next_token, name, model
        self.token_text = token
        self.room = room or Room()
        self.first_late: deque[float] = deque(maxlen=KEPT_TIMINGS)
        self.next_late: deque[float] = deque(maxlen=KEPT_TIMINGS)
        self.requests = 0
        self.traces: Traces | None = None

    def timing(self) -> dict[str, Any]:
        """Lateness in milliseconds since the last question; asking starts anew."""
        said = {"requests": self.requests, "first": _late(self.first_late), "next": _late(self.next_late)}
        self.first_late.clear()
        self.next_late.clear()
        self.requests = 0
        return said


def _late(values: deque[float]) -> dict[str, float | int | None]:
    ordered = sorted(values)
    picked = {name: ordered[int(share * (len(ordered) - 1))] if ordered else None for name, share in _SHARES.items()}
    return {
        "tokens": len(ordered),
        **{name: None if value is None else round(value * 1000, 3) for name, value in picked.items()},
    }


_SHARES = {"p50_ms": 0.5, "p99_ms": 0.99, "most_ms": 1.0}


class Connection(asyncio.Protocol):
    """One kept connection; HTTP/1.1, one request after the other."""

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None
        self.chats = True
        self.head = b""
        self.holds = self.waits = False
        self.trace = ""
        self.read = self.began = self.first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (create_server makes no other)
        self.transport = transport
        self.head = f"x-cluster-node: {self.speed.name}\r\nx-cluster-replica: stub\r\n".encode()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        self._leave(0)

    def _leave(self, tokens: int) -> None:
        if self.holds:
            self.holds = False
            self.speed.room.leave(tokens)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.timer is None and not self.waits:
            self._next_request()

    def _next_request(self) -> None:
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            if len(head) > MOST_BODY_BYTES:
                self.transport.close()
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        try:
            method, path, _version = lines[0].split(" ")
            length = int(headers.get("content-length", "0"))
        except ValueError:
            self._whole(400, {"error": {"message": "no HTTP/1.1", "type": "invalid_request_error"}})
            self.transport.close()
            return
        if "transfer-encoding" in headers or length > MOST_BODY_BYTES:
            status = 411 if "transfer-encoding" in headers else 413
            self._whole(status, {"error": {"message": "a body of known length", "type": "invalid_request_error"}})
            self.transport.close()
            return
        if len(rest) < length:
            return
        body, self.buffer = rest[:length], rest[length:]
        self.trace = headers.get("traceparent", "")
        self._answer(method, path.partition("?")[0], body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if method == "POST" and path in ("/v1/chat/completions", "/v1/completions"):
            self.chats = path == "/v1/chat/completions"
            self._complete(body)
        elif path in ("/cluster/ready", "/health"):
            self._whole(200, {"state": "serving", "reason": ""})
        elif path == "/v1/models":
            self._whole(200, {"object": "list", "data": [{"id": self.speed.model, "object": "model"}]})
        elif path == "/stub/timing":
            self._whole(200, self.speed.timing())
        elif path == "/metrics":
            self._send(200, "text/plain; version=0.0.4", self.speed.room.metrics(self.speed.model).encode())
        else:
            self._whole(404, {"error": {"message": f"no {method} {path}", "type": "not_found"}})

    def _whole(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        start = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {kind}\r\n".encode()
        self.transport.write(start + self.head + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        if not self.transport.is_closing():
            self._next_request()

    def _complete(self, body: bytes) -> None:
        read = self.read = self.loop.time()
        try:
            order = json.loads(body)
            tokens = int(order.get("max_completion_tokens") or order.get("max_tokens") or 16)
            streamed = bool(order.get("stream"))
            usage = bool((order.get("stream_options") or {}).get("include_usage"))
            prompt = str(order.get("prompt") or (order.get("messages") or [{}])[0].get("content") or "")
        except (ValueError, AttributeError, TypeError, LookupError):
            self._whole(400, {"error": {"message": "no JSON object", "type": "invalid_request_error"}})
            return
        self.speed.requests += 1
        if streamed:
            start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            self.transport.write(start + self.head + b"\r\n")
        first = self.speed.first_token + self.speed.room.prefill(prompt)
        self.waits = True
        self.speed.room.enter(
            lambda waited: self._begin(first + (self.loop.time() if waited else read), max(tokens, 1), streamed, usage)
        )

    def _begin(self, first: float, tokens: int, streamed: bool, usage: bool) -> None:
        """The request has its slot; its first token is due at `first`, in the loop's time."""
        self.holds, self.waits = True, False
        self.began = self.first = self.loop.time()
        if self.transport.is_closing():  # its client went away while it waited
            self._leave(0)
            return
        if streamed:
            self.timer = self.loop.call_at(first, self._token, 0, tokens, first, usage)
        else:
            due = first + (tokens - 1) * self.speed.next_token
            self.timer = self.loop.call_at(due, self._at_once, tokens)

    def _at_once(self, tokens: int) -> None:
        self.timer = None
        self._leave(tokens)
        self.first = self.loop.time()
        self._told()
        text = self.speed.token_text * tokens
        said = {"message": {"role": "assistant", "content": text}} if self.chats else {"text": text}
        choice = {"index": 0, **said, "finish_reason": "length"}
        self._whole(200, {**self._base("chat.completion"), "choices": [choice], "usage": _usage(tokens)})

    def _token(self, place: int, tokens: int, due: float, usage: bool) -> None:
        late = self.loop.time() - due
        if not place:
            self.first = self.loop.time()
        (self.speed.next_late if place else self.speed.first_late).append(late)
        last = place + 1 == tokens
        role = {} if place else {"role": "assistant"}
        text = self.speed.token_text
        said = {"delta": {**role, "content": text}} if self.chats else {"text": text}
        choice = {"index": 0, **said, "finish_reason": "length" if last else None}
        pieces = _event({**self._base("chat.completion.chunk"), "choices": [choice]})
        if not last:
            self.transport.write(pieces)
            next_due = due + self.speed.next_token
            self.timer = self.loop.call_at(next_due, self._token, place + 1, tokens, next_due, usage)
            return
        if usage:
            pieces += _event({**self._base("chat.completion.chunk"), "choices": [], "usage": _usage(tokens)})
        done = b"data: [DONE]\n\n"
        self._told()  # before it is sent: who has it is likely to be given the processor
        self.transport.write(pieces + _chunked(done) + b"0\r\n\r\n")
        self.timer = None
        self._leave(tokens)
        if not self.transport.is_closing():
            self._next_request()

    def _told(self) -> None:
        """The request has ended: its span, where somebody takes spans."""
        if self.speed.traces and self.trace:
            now = self.loop.time()
            queue, prefill, decode = self.began - self.read, self.first - self.began, now - self.first
            self.speed.traces.add(self.trace, queue=queue, prefill=prefill, decode=decode)

    def _base(self, kind: str) -> dict[str, Any]:
        said = kind if self.chats else "text_completion"
        return {"id": "stub", "object": said, "created": 0, "model": self.speed.model}


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}


def _event(value: dict[str, Any]) -> bytes:
    return _chunked(b"data: " + json.dumps(value).encode() + b"\n\n")


def _chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are exact to microseconds: epoll waits whole milliseconds, select does not.

    select takes 1024 descriptors at most; a stub has some hundred connections.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def serve(address: str, port: int, speed: Speed) -> asyncio.Server:
    """Listen; the caller closes."""
    return await asyncio.get_running_loop().create_server(lambda: Connection(speed), address, port, backlog=512)


async def _run(options: argparse.Namespace) -> None:
    room = Room(options.slots, options.cold_ms / 1000)
    speed = Speed(options.ttft_ms / 1000, options.itl_ms / 1000, options.name, options.model, options.token, room)
    speed.traces = Traces(options.traces, options.name) if options.traces else None
    server = await serve(options.address, options.port, speed)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"stub engine on {options.address}:{options.port}", flush=True)
    await stopped.wait()
    server.close()
    if speed.traces:
        speed.traces.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m experiments.stub_engine", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--ttft-ms", type=float, default=50.0)
    parser.add_argument("--itl-ms", type=float, default=20.0)
    parser.add_argument("--name", default="stub", help="what the header x-cluster-node says")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--token", default=SAYS, help="what each token says; a golden answer, for a client that checks")
    parser.add_argument("--slots", type=int, default=0, help="requests at once, 0 for any number; others wait")
    parser.add_argument("--cold-ms", type=float, default=0.0, help="what a prompt costs more whose beginning is new")
    parser.add_argument("--traces", default="", help="where its spans go by OTLP: http://HOST:PORT/v1/traces")
    options = parser.parse_args(arguments)
    loop = precise_loop()
    with contextlib.closing(loop):
        loop.run_until_complete(_run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
