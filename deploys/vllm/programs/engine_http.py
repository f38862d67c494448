"""The HTTP side of one replica: its engine's own OpenAI application on the node's cluster address.

Runs on the cluster's nodes inside the locked runtime. The gateway (HAProxy on the control node) sends requests here
directly, so that no process of Ray Serve is on the way of a token. One small ASGI layer adds who answers, and sees to
what is under way when the engine ends: an answer of which no byte was sent is left to the gateway, which asks another
engine, and one that had begun ends with an error in OpenAI's shape.
"""

import asyncio
import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from deploys.vllm.programs.engine_life import STATUS, Life
from facts.programs.own_name import is_own

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# The gateway asks once a second: after this long it has seen that this replica drains.
NOTICE_SECONDS = 3.0
# For the last words of a replica that ends: they go to the gateway, which reads them at once.
LAST_WORDS_SECONDS = 1.0
BROKEN_OFF = {"message": "the engine ended while it answered; ask again", "type": "server_error", "param": None}


class Identity:
    """ASGI layer around an engine's application: who answers, in headers; and the two pages about its life."""

    def __init__(self, app: Any, life: Life) -> None:
        self.app = app
        self.life = life
        self.open = 0
        self._answers: set[Answer] = set()
        self.prompt_log = os.environ.get("CLUSTER_PROMPT_LOG", "")
        self._headers = [
            (f"x-cluster-{key}".encode(), str(life.about[key]).encode()) for key in ("node", "address", "replica")
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not is_own(dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")):
            error = {"message": "this engine is called by its address", "type": "invalid_request_error", "code": 421}
            await _json(send, 421, {"error": error})
            return
        if scope["path"] == "/cluster/ready":
            await self._ready(scope, send)
            return
        if scope["path"] == "/cluster/proof":
            await _json(send, 200, self.life.report())
            return

        answer = Answer(send, self._headers, self.life.ended)
        asked: list[bytes] = []

        async def noted() -> dict[str, Any]:
            message = await receive()
            asked.append(message.get("body", b""))
            return message

        self.open += 1
        self._answers.add(answer)
        try:
            await self.app(scope, noted if self.prompt_log else receive, answer.send)
        finally:
            self.open -= 1
            self._answers.discard(answer)
            if self.prompt_log and any(asked):
                self._note(scope["path"], b"".join(asked))

    async def break_off(self) -> None:
        """End every answer that has begun with an error: the engine will not go on with it."""
        ends = [asyncio.ensure_future(answer.break_off()) for answer in self._answers if answer.begun]
        if ends:
            await asyncio.wait(ends, timeout=LAST_WORDS_SECONDS)

    def _note(self, path: str, body: bytes) -> None:
        """A request as it came, with who took it; only where the inventory asks for it. A full disk stops no answer."""
        who = {key: self.life.about[key] for key in ("node", "address", "replica", "model")}
        line = json.dumps({"at": round(time.time(), 3), **who, "path": path, "request": body.decode(errors="replace")})
        with contextlib.suppress(OSError):
            file = os.open(self.prompt_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(file, "a") as stream:
                stream.write(line + "\n")

    async def _ready(self, scope: Scope, send: Send) -> None:
        state, reason = self.life.state()
        status = STATUS[state]
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("model")
        if asked and asked[0] != self.life.about["model"]:
            status, reason = 503, f"serves {self.life.about['model']}"
        await _json(send, status, {"state": state, "reason": reason})


class Answer:
    """One answer on its way. Its status and headers wait for the first byte of its body.

    Until then the gateway can give the request to another engine, and a stream whose first token is waited for is no
    exception. `ended` tells whether the engine's own process is gone: what the application makes of that is not sent.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], ended: Callable[[], bool]) -> None:
        self.begun = False
        self._send, self._headers, self._ended = send, headers, ended
        self._start: dict[str, Any] | None = None
        self._streams = self._over = False

    async def send(self, message: dict[str, Any]) -> None:
        """What the application sends; returns never for an answer that another engine has to give."""
        if self._ended():
            if not self.begun:
                await asyncio.get_running_loop().create_future()  # this process ends, and its connections with it
            await self.break_off()
        if self._over:
            return
        if message["type"] == "http.response.start":
            own = message.get("headers", [])
            self._streams = any(name.lower() == b"content-type" and b"event-stream" in value for name, value in own)
            self._start = {**message, "headers": [*own, *self._headers]}
            return
        if self._start is not None:
            if message.get("more_body") and not message.get("body"):
                return
            start, self._start, self.begun = self._start, None, True
            await self._send(start)
        await self._send(message)

    async def break_off(self) -> None:
        """The last event of a stream that has begun; other answers have no room for it, and end cut."""
        if self._over or not (self.begun and self._streams):
            return
        self._over = True
        event = json.dumps({"error": {**BROKEN_OFF, "code": 502}})
        await self._send({"type": "http.response.body", "body": f"data: {event}\n\n".encode(), "more_body": False})


async def _json(send: Send, status: int, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def bind(address: str, first: int, last: int) -> socket.socket:
    """A socket on the first free port of the range; OSError when none is free, naming the range."""
    for port in range(first, last + 1):
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        # A replica that was killed leaves connections in TIME_WAIT; its port must not be lost for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(2048)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise OSError(error.errno, f"{address}:{port}: {error.strerror}") from None
        else:
            return listener
    raise OSError(errno.EADDRINUSE, f"{address}: every port from {first} to {last} is taken")


class Listener:
    """Serves one application until it is told to drain."""

    def __init__(self, app: Identity, listener: socket.socket) -> None:
        self.app = app
        self.port: int = listener.getsockname()[1]
        self._socket = listener
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_keep_alive=90)
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once it accepts connections; RuntimeError when it ended instead."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                raise RuntimeError(f"port {self.port}: the HTTP server ended while it started")
            await asyncio.sleep(0.02)

    async def drain(self, seconds: float) -> None:
        """Say that it drains, wait until the gateway knows and running requests have ended, then close."""
        self.app.life.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        await asyncio.sleep(min(NOTICE_SECONDS, seconds))
        while self.app.open and loop.time() < deadline:
            await asyncio.sleep(0.1)
        self._server.should_exit = True
        self._server.force_exit = bool(self.app.open)
        if self._task is not None:
            with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, 5)
