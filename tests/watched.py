"""The edge of the world around the watch service: engines, Ray's dashboard and the gateway as small local servers.

Nothing of this project is replaced: cluster_watch.py runs as a process of its own. The engines answer `/cluster/proof`
as a replica does and `/metrics` in vLLM's names; the dashboard has the shapes captured from Ray 2.60.0 in
tests/unit/facts/fixtures, and those of `/nodes?view=summary`; the gateway streams in OpenAI's shape.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "deploys" / "watch" / "page"
TOKEN = "a-token-of-a-test"  # noqa: S105 (no secret)
HEAD, FIRST, SECOND, THIRD = "127.0.0.50", "127.0.0.51", "127.0.0.52", "127.0.0.53"
CAPTURED = REPOSITORY / "tests" / "unit" / "facts" / "fixtures" / "ray-2.60.0" / "nodes.json"
SERVE_CAPTURED = CAPTURED.with_name("serve.json")


def free_port(address: str) -> int:
    """A port of an address on which nothing listens now."""
    with socket.create_server((address, 0)) as found:
        return int(found.getsockname()[1])


class Local:
    """A server on a loopback address; `answer` gets each request's handler."""

    def __init__(self, address: str, answer: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                answer(self)

            do_GET = do_POST = handle_any

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                """A peer that went away is no news."""

        self.address = address
        self._server = Server((address, port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(10)
            self._server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: Any, kind: str = "application/json", **more: str) -> None:
    """A whole answer."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"content-type": kind, "content-length": str(len(payload)), **more}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(payload)


class Engine(Local):
    """A replica: what it says is in `said`; `silent` makes it accept and never answer."""

    def __init__(self, node: str, address: str, port: int = 0) -> None:
        self.silent = False
        self.metrics_text: str | None = None  # instead of true ones
        self.counts = [0, 0, 0]  # requests with a first token within 0.1 s, 0.5 s, at all
        now = time.time()
        self.said: dict[str, Any] = {
            "node": node,
            "address": address,
            "replica": f"{node}-a1b2c3",
            "model": "smollm2-135m-instruct",
            "engine": "vllm",
            "state": "serving",
            "reason": "",
            "since": now - 200,
            "started": now - 260,
            "proofs": {
                "asked": 17,
                "failed": 0,
                "last": {"at": now - 9, "correct": True, "seconds": 0.31, "answer": "Paris", "detail": ""},
            },
            "requests": {"running": 0, "waiting": 0, "finished": 40},
            "kv_cache_usage": 0.12,
            "generated_tokens": 1000,
            "prompt_tokens": 300,
        }
        super().__init__(address, self._answer, port)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.silent:
            time.sleep(30)
        elif handler.path == "/cluster/proof":
            send(handler, 200, self.said)
        elif handler.path == "/metrics":
            send(handler, 200, self.metrics().encode(), "text/plain; version=0.0.4")
        else:
            send(handler, 404, {})

    def metrics(self) -> str:
        """Two histograms as vLLM's Prometheus endpoint writes them."""
        if self.metrics_text is not None:
            return self.metrics_text
        labels = 'engine="0",model_name="smollm2-135m-instruct"'
        lines = []
        for name in ("vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"):
            lines.append(f"# TYPE {name} histogram")
            for bound, count in zip(("0.1", "0.5", "+Inf"), self.counts, strict=True):
                lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {float(count)}')
            lines.append(f"{name}_count{{{labels}}} {float(self.counts[2])}")
        return "\n".join(lines) + "\n"


class Ray(Local):
    """The dashboard of a head and its workers; `dead` are the names of nodes that Ray calls dead."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self.dead: set[str] = set()
        self.nodes = nodes
        self.asked_without_token = 0
        self.nonsense: Any = None  # instead of a true answer
        super().__init__(nodes["head"], self._answer)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.asked_without_token += 1
            send(handler, 401, None)
        elif self.nonsense is not None:
            send(handler, 200, self.nonsense)
        elif handler.path.startswith("/api/v0/nodes"):
            captured = json.loads(CAPTURED.read_text())
            head, worker = captured["data"]["result"]["result"][:2]
            rows = []
            for index, (name, address) in enumerate(self.nodes.items()):
                row = {**(worker if index else head), "node_name": name, "node_ip": address, "node_id": f"id-{name}"}
                if name in self.dead:
                    row |= {"state": "DEAD", "state_message": "Unexpected termination: health check failed"}
                rows.append(row)
            captured["data"]["result"]["result"] = rows
            send(handler, 200, captured)
        elif handler.path == "/nodes?view=summary":
            mem = [24_000_000_000, 9_000_000_000, 62.5, 15_000_000_000]
            rows = [{"mem": mem, "cpus": [8, 4], "raylet": {"nodeId": f"id-{name}"}} for name in self.nodes]
            send(handler, 200, {"result": True, "msg": "", "data": {"summary": rows, "nodeLogicalResources": {}}})
        elif handler.path == "/api/serve/applications/":
            send(handler, 200, json.loads(SERVE_CAPTURED.read_text()))
        else:
            send(handler, 404, {})


class Watching:
    """cluster_watch.py as a process, configured for a head and workers."""

    def __init__(self, directory: Path, ray: Ray, ports: dict[str, list[int]], **more: Any) -> None:
        self.port = free_port(HEAD)
        self.verify_file = directory / "verify.json"
        self.token_file = directory / "ray-token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.file = directory / "watch.json"
        labels = {name: f"Worker Node #{index}" if index else "Head Node" for index, name in enumerate(ray.nodes)}
        self.configuration: dict[str, Any] = {
            "cluster": "laptop",
            "address": HEAD,
            "port": self.port,
            "endpoint": "http://127.0.0.10:8000/v1",
            "models": ["smollm2-135m-instruct"],
            "span": False,
            "dashboard": ray.url,
            "token_file": str(self.token_file),
            "key_file": "",
            "verify_file": str(self.verify_file),
            "page": str(PAGE),
            "period_seconds": 0.2,
            "retention_seconds": 900,
            "nodes": [
                {
                    "name": name,
                    "label": labels[name],
                    "role": "compute" if ports.get(name) else "control",
                    "address": address,
                    "accelerators": [],
                    "engine_ports": ports.get(name, []),
                }
                for name, address in ray.nodes.items()
            ],
            "links": [
                {
                    "kind": "loopback",
                    "members": list(ray.nodes),
                    "bits_per_second": 10_000_000_000,
                    "optional": False,
                }
            ],
            **more,
        }
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://{HEAD}:{self.port}"

    def start(self) -> None:
        self.file.write_text(json.dumps(self.configuration))
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-m", "deploys.watch.programs.cluster_watch", str(self.file)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={},
        )
        wait_until(lambda: self.get("/")[0] == 200, 20, "the watch service answers")

    def stop(self) -> str:
        """End it; what it said."""
        assert self.process is not None
        self.process.terminate()
        said, _ = self.process.communicate(timeout=10)
        return said

    def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers (in lower case); status 0 when nothing answers."""
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return answer.status, answer.read(), {key.lower(): value for key, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            return error.code, error.read(), {key.lower(): value for key, value in error.headers.items()}
        except (OSError, http.client.HTTPException):
            return 0, b"", {}

    def state(self) -> dict[str, Any]:
        status, body, _ = self.get("/cluster/state")
        assert status == 200
        state: dict[str, Any] = json.loads(body)
        return state

    def until(self, holds: Callable[[dict[str, Any]], bool], seconds: float = 20) -> dict[str, Any]:
        """The first state for which something holds."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.clear()
            found.update(self.state())
            return holds(found)

        wait_until(look, seconds, lambda: json.dumps(found)[:3000])
        return found


def wait_until(holds: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Poll until it holds, with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.05)


class Gateway(Local):
    """In the gateway's place: `/v1/chat/completions` streams in OpenAI's shape, signed by a node; the rest goes on.

    `key`: what a caller has to show for all but the page. `breaks`: a stream ends without its last line. `room`: how
    many messages the model can read.
    """

    def __init__(self, watching: Watching, port: int = 0) -> None:
        self.watching = watching
        self.key = ""
        self.words = ["The", " capital", " of", " France", " is", " Paris", "."]
        self.pause_seconds = 0.02
        self.breaks = False
        self.room = 100
        self.bodies: list[dict[str, Any]] = []
        super().__init__(HEAD, self._answer, port)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        open_page = not handler.path.startswith(("/cluster/", "/v1/"))
        if self.key and not open_page and handler.headers.get("Authorization") != f"Bearer {self.key}":
            error = {"message": "missing or wrong API key", "type": "invalid_request_error", "code": 401}
            send(handler, 401, {"error": error})
        elif handler.path == "/v1/chat/completions":
            self._chat(handler)
        else:
            self._pass_on(handler)

    def _chat(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.bodies.append(body)
        signed = {"x_cluster_node": "worker1", "x_cluster_address": FIRST, "x_cluster_replica": "worker1-a1b2c3"}
        if not self.words:
            error = {"message": "no engine serves now", "type": "service_unavailable", "code": 503}
            send(handler, 503, {"error": error}, retry_after="5")
            return
        if len(body["messages"]) > self.room:
            # As vLLM 0.32 says it.
            message = "This model's maximum context length is 2048 tokens. However, you requested 2600 tokens."
            send(handler, 400, {"error": {"message": message, "type": "BadRequestError", "code": 400}})
            return
        handler.send_response(200)
        for name, value in {"content_type": "text/event-stream", **signed}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

        def line(value: Any) -> None:
            handler.wfile.write(
                b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
            )
            handler.wfile.flush()

        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        line({**chunk, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        for word in self.words:
            time.sleep(self.pause_seconds)
            line({**chunk, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        if self.breaks:
            return
        line({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 9, "completion_tokens": len(self.words), "total_tokens": 9 + len(self.words)}
        line({**chunk, "choices": [], "usage": usage})
        line(b"[DONE]")

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        onward = http.client.HTTPConnection(HEAD, self.watching.port, timeout=30)
        try:
            onward.request("GET", handler.path, headers={"Connection": "close"})
            answer = onward.getresponse()
        except OSError:
            send(handler, 503, {"error": {"message": "the page's service does not answer", "code": 503}})
            return
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "date", "server"):
                handler.send_header(name, value)
        handler.end_headers()
        while part := answer.read1(65_536):
            handler.wfile.write(part)
            handler.wfile.flush()
        onward.close()
