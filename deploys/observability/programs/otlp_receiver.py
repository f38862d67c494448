"""Takes traces by OTLP over HTTP and keeps them: otlp_receiver.py ADDRESS PORT FILE

Standard library only. POST /v1/traces, protobuf or JSON, plain or gzipped; each span becomes a line of JSON in FILE,
which is turned over once. GET /received tells how many came and how many could not be kept. Bounded in every direction:
a body, the file, connections and their time; a full disk costs spans, never an engine's work.
"""

import contextlib
import gzip
import io
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploys.observability.programs.otlp_spans import of_json, of_protobuf
from facts.programs.own_name import is_own

BODY_BYTES = 8 * 1024**2
FILE_BYTES = 256 * 1024**2
IDLE_SECONDS = 60.0
CONNECTIONS = 128
TRACES = "/v1/traces"
COUNTS = "/received"
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"


class Store:
    """The file, and what became of the spans."""

    def __init__(self, path: Path, most_bytes: int = FILE_BYTES) -> None:
        self.path, self.most_bytes = path, most_bytes
        self.kept = self.lost = self.refused = 0
        self._lock = threading.Lock()

    def add(self, spans: list[dict[str, Any]]) -> bool:
        """Write them; False where the disk does not take them."""
        text = "".join(f"{json.dumps(span)}\n" for span in spans).encode()
        with self._lock:
            try:
                with contextlib.suppress(FileNotFoundError):
                    if self.path.stat().st_size + len(text) > self.most_bytes:
                        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(file, "wb") as stream:
                    stream.write(text)
            except OSError as error:
                self.lost += len(spans)
                print(f"{self.path}: {error.strerror}; {self.lost} spans are lost", file=sys.stderr, flush=True)
                return False
            self.kept += len(spans)
            return True

    def counts(self) -> dict[str, int]:
        """Spans kept and lost, and bodies that were no traces."""
        return {"kept": self.kept, "lost": self.lost, "refused": self.refused}


def decoded(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was packed; ValueError for one that is too large or cannot be unpacked."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise ValueError(f"content-encoding {encoding[:40]!r}; send gzip or none")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            text = stream.read(BODY_BYTES + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"no gzip: {error}") from None
    if len(text) > BODY_BYTES:
        raise ValueError(f"more than {BODY_BYTES} bytes")
    return text


class Receiver(ThreadingHTTPServer):
    """The server; a connection above the most waits for another to end."""

    daemon_threads = True

    def __init__(self, place: tuple[str, int], store: Store) -> None:
        self.store = store
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, once there is room."""
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Until the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: Receiver

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        wrong = self._wrong(length, kind)
        if wrong:
            self.close_connection = True
            self._answer(wrong[0], json.dumps({"message": wrong[1]}).encode(), _JSON)
            return
        try:
            body = decoded(self.rfile.read(int(length)), self.headers.get("content-encoding", "").strip().lower())
            spans = of_json(body) if kind == _JSON else of_protobuf(body)
        except ValueError as error:
            self.server.store.refused += 1
            self._answer(400, json.dumps({"message": str(error)}).encode(), _JSON)
            return
        # A sender tries again after 503, for as long as it has room.
        kept = self.server.store.add(spans)
        self._answer(200 if kept else 503, b"{}" if kind == _JSON else b"", kind)

    def _wrong(self, length: str, kind: str) -> tuple[int, str] | None:
        """Status and words for what is not to be read at all."""
        if not is_own(self.headers.get("host", "")):
            return 421, "this service is called by its address"
        if self.path != TRACES:
            return 404, f"POST goes to {TRACES}"
        if kind not in (_PROTOBUF, _JSON):
            return 415, f"send {_PROTOBUF} or {_JSON}"
        if not length.isdigit():
            return 411, "a body of known length"
        if int(length) > BODY_BYTES:
            return 413, f"more than {BODY_BYTES} bytes"
        return None

    def do_GET(self) -> None:
        if self.path != COUNTS:
            self._answer(404, json.dumps({"message": f"GET {COUNTS}"}).encode(), _JSON)
            return
        self._answer(200, json.dumps(self.server.store.counts()).encode(), _JSON)

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Not every request."""


def main() -> int:
    """Until TERM."""
    address, port, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    file.parent.mkdir(parents=True, exist_ok=True)
    server = Receiver((address, port), Store(file))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"takes traces on {address}:{port}", flush=True)
    server.serve_forever(poll_interval=5)  # how soon it sees that it has to end; it costs a look
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
