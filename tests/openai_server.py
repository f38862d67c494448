"""An HTTP server in OpenAI's published shapes that stands for gateway and engine, at the edge of what is tested.

It does what a test tells it, request by request: pieces of a stream as the network might cut them, refusals, pauses,
a connection that is cut. The shapes are those of OpenAI's API reference, "Chat completion chunk" and "Error codes".
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m-instruct"
NODE = {"x-cluster-node": "worker1", "x-cluster-address": "127.0.6.11", "x-cluster-replica": "abc123"}


def chunk(content: str | None = None, *, finish: str | None = None, **delta: Any) -> bytes:
    """One event of a stream, not ASCII-escaped, as engines send it."""
    said = {**({"content": content} if content is not None else {}), **delta}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": said, "finish_reason": finish}],
    }
    return _event(body)


def usage(completion_tokens: int) -> bytes:
    """The last chunk before the end, with `include_usage`."""
    counts = {"prompt_tokens": 9, "completion_tokens": completion_tokens, "total_tokens": 9 + completion_tokens}
    return _event(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": counts}
    )


DONE = b"data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


@dataclass(frozen=True)
class Place:
    """Where a test's operator sits: an inventory that leads to the server, a home, an environment."""

    inventory: str
    home: Path
    environment: dict[str, str]


def chat_command(place: Place, *options: str) -> list[str]:
    """`cluster chat` as a program."""
    return [str(Path(sys.executable).parent / "cluster"), "-c", place.inventory, "chat", *options]


@dataclass
class Reply:
    """What one request gets. `parts`: bytes are sent as one HTTP chunk each, a number is a pause in seconds.

    `cut` ends the connection where the body should go on.
    """

    parts: Iterable[bytes | float] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(NODE))
    kind: str = "text/event-stream; charset=utf-8"
    cut: bool = False


def answer(*words: str, tokens: int | None = None) -> Reply:
    """A whole answer."""
    told = [usage(len(words) if tokens is None else tokens)]
    return Reply([chunk("", role="assistant"), *map(chunk, words), chunk(finish="stop"), *told, DONE])


def refusal(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": "error", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([json.dumps({"error": error}).encode()], status, named, "application/json")


class OpenAiServer:
    """Listens on `address`, on a port that the system chooses unless one is given; `replies` are used up in order.

    `certificate`: a PEM file with its key, for HTTPS.
    """

    def __init__(self, address: str, port: int = 0, *, certificate: Path | None = None) -> None:
        self.replies: deque[Reply] = deque()
        self.documents: dict[str, Any] = {"/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model"}]}}
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.left = threading.Event()
        """Set when a client went away before its answer was whole."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                document = outer.documents.get(self.path)
                if document is None:
                    self._send(refusal(404, "Not Found"))
                else:
                    self._send(Reply([json.dumps(document).encode()], 200, {}, "application/json"))

            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                outer.keys.append(self.headers.get("authorization"))
                self._send(outer.replies.popleft() if outer.replies else answer("The capital of France", " is Paris."))

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in {
                    **reply.headers,
                    "content-type": reply.kind,
                    "transfer-encoding": "chunked",
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.close_connection = reply.cut
                try:
                    for part in reply.parts:
                        if isinstance(part, bytes):
                            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                            self.wfile.flush()
                        else:
                            threading.Event().wait(part)
                    if not reply.cut:
                        self.wfile.write(b"0\r\n\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    outer.left.set()
                    self.close_connection = True

        self._server = ThreadingHTTPServer((address, port), Handler)
        self._server.daemon_threads = True
        self._scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address, self.port = address, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Base address of its API."""
        return f"{self._scheme}://{self.address}:{self.port}/v1"

    def __enter__(self) -> OpenAiServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def endless() -> Iterator[bytes | float]:
    """Words for as long as somebody listens."""
    yield chunk("", role="assistant")
    for number in range(100_000):
        yield chunk(f"word{number} ")
        yield 0.02
