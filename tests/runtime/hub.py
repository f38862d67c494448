"""A small hub on loopback, for the programs that fetch from one: it stands at the edge of the world.

It answers in the hub's published API shapes (docs "Hub API Endpoints" and "git over LFS": /api/models/ID/revision/REV,
/api/models/ID/tree/REV, /ID/resolve/REV/FILE with ranges, X-Error-Code), and can be told to misbehave. Not a hub of
ours: there is none to ask here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".h5")


class Hub:
    """What the hub holds and how it behaves.

    `break_after`: bytes after which each answer with a file breaks off; a list gives one for each answer, then none.
    `ranges` False: a request for a part is answered with the whole. `wrong`: files that are sent with other bytes.
    `stall`: seconds of silence in the middle of a file. `status`: (code, X-Error-Code) instead of an answer to a path
    that contains the key. `trickle`: seconds between single bytes.
    """

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        self.repository, self.files = repository, files
        self.parameters: dict[str, int] = {}
        self.break_after: list[int] = []
        self.always_break_after = 0
        self.ranges = True
        self.wrong: set[str] = set()
        self.stall = 0.0
        self.trickle = 0.0
        self.status: dict[str, tuple[int, str]] = {}
        self.requests: list[tuple[str, str, str]] = []  # path, Range, Authorization
        self.url = ""
        self.stop = threading.Event()

    def gets(self, file: str) -> list[str]:
        """The ranges that were asked for of a file, in order."""
        return [part for path, part, _ in self.requests if path.endswith(f"/{file}")]

    def listing(self) -> list[dict[str, Any]]:
        """The tree of a revision, as the hub's API gives it: large files with their LFS pointer."""
        entries: list[dict[str, Any]] = []
        for path, data in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            entry: dict[str, Any] = {"type": "file", "oid": blob, "size": len(data), "path": path}
            if path.endswith(LFS_SUFFIXES):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        return entries

    def about(self) -> dict[str, Any]:
        """The repository, as /api/models gives it."""
        safetensors = {"safetensors": {"parameters": self.parameters, "total": sum(self.parameters.values())}}
        siblings = [{"rfilename": path} for path in self.files]
        about = {"id": self.repository, "modelId": self.repository, "sha": COMMIT, "siblings": siblings, "tags": []}
        return {**about, **(safetensors if self.parameters else {})}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((path, self.headers.get("Range") or "", self.headers.get("Authorization") or ""))
            for part, (code, error) in hub.status.items():
                if part in path:
                    return self.answer(code, b"{}", {"X-Error-Code": error} if error else {})
            if path == f"/api/models/{hub.repository}/revision/main":
                return self.answer(200, json.dumps(hub.about()).encode())
            if path == f"/api/models/{hub.repository}/tree/{COMMIT}":
                return self.answer(200, json.dumps(hub.listing()).encode())
            name = path.removeprefix(f"/{hub.repository}/resolve/{COMMIT}/")
            if name in hub.files:
                return self.send_file(name)
            missing = "RevisionNotFound" if f"/api/models/{hub.repository}/" in path else "RepoNotFound"
            return self.answer(404, b"{}", {"X-Error-Code": missing})

        do_HEAD = do_GET

        def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def send_file(self, name: str) -> None:
            data = hub.files[name]
            if name in hub.wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            asked = self.headers.get("Range") or ""
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and hub.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            end = len(data)
            if name.endswith(LFS_SUFFIXES):
                if hub.break_after:
                    end = min(end, start + hub.break_after.pop(0))
                elif hub.always_break_after:
                    end = min(end, start + hub.always_break_after)
            middle = (start + end) // 2
            if hub.trickle and name.endswith(LFS_SUFFIXES):
                for position in range(start, end):
                    self.wfile.write(data[position : position + 1])
                    if hub.stop.wait(hub.trickle):
                        break
            elif hub.stall and name.endswith(LFS_SUFFIXES):
                self.wfile.write(data[start:middle])
                self.wfile.flush()
                hub.stop.wait(hub.stall)
            else:
                self.wfile.write(data[start:end])
            if end < len(data):
                self.close_connection = True

        def handle(self) -> None:
            with suppress(ConnectionError):  # the program that asked was told to give up
                super().handle()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.stop.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
