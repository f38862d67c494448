"""A small dashboard in Ray's REST shapes, and a way to run the programs that the deploys put on hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploys import library

TOKEN = "a-token-of-a-test"  # noqa: S105 (no secret)
Program = Callable[..., subprocess.Popen[str]]


class Dashboard:
    """What the server answers; the shapes are those captured in tests/unit/facts/fixtures/ray-2.60.0.

    `calls` are the methods and paths of all requests but GET, `looks` counts those. With `fail` set, every request is
    answered with that status.
    """

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.applications: dict[str, Any] = {}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.looks = 0
        self.fail = 0
        self.url = ""
        self.changed = threading.Condition()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        with self.changed:
            self.changed.notify_all()
            if self.fail:
                return self.fail, {"error": "told to fail"}
            if method == "GET":
                self.looks += 1
                if path.startswith("/api/v0/nodes"):
                    return 200, {"result": True, "msg": "", "data": {"result": {"result": self.nodes}}}
                return 200, {"applications": self.applications}
            self.calls.append(f"{method} {path}")
            self.bodies.append(body)
            if method == "DELETE":
                for state in self.applications.values():
                    state["status"] = "DELETING"
            else:
                told = {application["name"]: application for application in body["applications"]}
                for name, application in told.items():
                    # Serve adds keys of its own to what it was told.
                    config = {**application, "runtime_env": {}}
                    if self.applications.get(name, {}).get("deployed_app_config") != config:
                        self.applications[name] = {"status": "DEPLOYING", "deployed_app_config": config}
                for name in set(self.applications) - set(told):
                    self.applications[name]["status"] = "DELETING"
            return 200, None

    def wait_until(self, holds: Callable[[], bool], seconds: float = 15) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, seconds), f"not within {seconds} s; calls: {self.calls}"


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    """A dashboard that is up."""
    state = Dashboard()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, None
            else:
                status, answer = state.answer(self.command, self.path, body)
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token that the dashboard asks for."""
    file = tmp_path / "ray-token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def start(repository: Path, token_file: Path) -> Iterator[Program]:
    """Starts a program of the hosts, by its dotted name and its arguments; what is left is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*library.start(sys.executable, program), *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(repository), "RAY_AUTH_TOKEN_PATH": str(token_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
