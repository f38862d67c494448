"""The cluster's web page and the JSON behind it, on the control node: CONFIGURATION.json

Standard library only, one thread. Asks every place where an engine may listen for its word on itself
(`/cluster/proof`), and Ray's dashboard for the nodes; keeps a quarter of an hour in memory; serves

- `/`, `/ui/*`: the page, from the files beside it;
- `/cluster/state`: all that is known, as one JSON document;
- `/cluster/events`: the same as server-sent events. The first has the whole history, each later one the new points.

It starts before anything else is up and shows what is missing. Every question has a deadline and every node its own
loop, so a dead node holds up nobody. It only reads: what `cluster verify` found comes in a file that the operator's
command writes. Where the API wants a key, `/cluster/*` wants the same, also of those who come around the gateway.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import signal
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploys.watch.programs.watch_http import NoAnswer, Request, Response, Server, get
from deploys.watch.programs.watch_state import Replicas, mapping, number, proof, sequence, text, verify_record
from facts.programs.engines import standing
from facts.programs.own_name import is_own
from facts.programs.ray_rest import APPLICATIONS, NODES

PROBE_SECONDS = 1.5
RAY_SECONDS = 5.0
# While nobody looks and every engine serves and has no work, this often; who has looked may look again.
UNSEEN_PERIOD_SECONDS = 10.0
LOOK_SECONDS = 30.0
SEARCH_ROUNDS = 3  # places where nothing was heard are asked in every third round
MEASURE_ROUNDS = 3
LISTENERS = 64
VERIFY_BYTES = 512 * 1024

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Page:
    """The page's files, read once: a path is a name in this table or it does not exist."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}
        for file in sorted(directory.iterdir()):
            if file.suffix in TYPES:
                body = file.read_bytes()
                self._files[file.name] = (body, TYPES[file.suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
        if "index.html" not in self._files:
            raise FileNotFoundError(f"{directory} has no index.html")

    def answer(self, request: Request) -> Response:
        """The file of a path, or that it is unchanged, or 404."""
        name = "index.html" if request.path == "/" else request.path.removeprefix("/ui/")
        if name not in self._files or not (request.path == "/" or request.path.startswith("/ui/")):
            return Response(404, b"not found\n", {"Content-Type": "text/plain", **SECURITY})
        body, kind, tag = self._files[name]
        headers = {"Content-Type": kind, "ETag": tag, "Cache-Control": "no-cache", **SECURITY}
        if request.headers.get("if-none-match") == tag:
            return Response(304, b"", headers)
        return Response(200, body, headers)


class Watch:
    """Asks, keeps and answers."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        self.nodes: list[dict[str, Any]] = configuration["nodes"]
        self.period = float(configuration["period_seconds"])
        self.replicas = Replicas(int(configuration["retention_seconds"] / self.period))
        self.ray: dict[str, dict[str, Any]] = {}
        self.machines: dict[str, dict[str, Any]] = {}
        self.ray_answers, self.ray_detail, self.ray_heard = False, "not asked yet", 0.0
        self.serve: dict[str, Any] = {"status": "UNREACHABLE", "applications": {}, "replicas": [], "heard": 0.0}
        self.reached: dict[str, bool] = {}
        self.verify: dict[str, Any] | None = None
        self.verify_mark: tuple[int, int, int] | None = None
        self.page = Page(Path(configuration["page"]))
        key_file = configuration["key_file"]
        self.key = Path(key_file).read_text().strip().encode() if key_file else b""
        self.listeners = 0
        self.ticked = asyncio.Event()
        self.asked, self.looked = -LOOK_SECONDS, asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve and ask until told to stop."""
        server = Server(self.answer)
        await server.start(self.configuration["address"], self.configuration["port"])
        loops = [asyncio.create_task(self._watch_node(node)) for node in self._engine_nodes()]
        loops += [asyncio.create_task(self._watch_ray()), asyncio.create_task(self._tick())]
        waiting = asyncio.create_task(stop.wait())
        # A loop that ends is a fault of this program: better a restart than a page that stands still.
        done, _ = await asyncio.wait([waiting, *loops], return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, *loops):
            task.cancel()
        await asyncio.gather(waiting, *loops, return_exceptions=True)
        await server.close()
        for task in done - {waiting}:
            task.result()

    async def _watch_node(self, node: dict[str, Any]) -> None:
        rounds = 0
        while True:
            began = time.monotonic()
            known = [port for name, port in self.replicas.known if name == node["name"]]
            ports = node["engine_ports"] if rounds % SEARCH_ROUNDS == 0 else known
            answers = await asyncio.gather(*(self._probe(node, port) for port in ports))
            if answers:
                self.reached[node["name"]] = any(answers)
            if rounds % MEASURE_ROUNDS == 0:
                await asyncio.gather(*(self._measure(node, port) for port in known))
            rounds += 1
            await self._pause(began)

    async def _probe(self, node: dict[str, Any], port: int) -> bool:
        """Ask one place; whether the node is there, which a refusal shows as well as an answer."""
        name, address = node["name"], node["address"]
        try:
            status, body = await get(address, port, "/cluster/proof", seconds=PROBE_SECONDS)
            said = proof(parsed(body), node=name, address=address, port=port)
            if said is None:
                raise NoAnswer("broken", f"{address}:{port} answers {status} and no proof of a replica")
            self.replicas.hear(said, time.time())
            return True
        except NoAnswer as error:
            self.replicas.miss(name, address, port, error.why, str(error), time.time())
            return bool(error.why != "unreachable")

    async def _measure(self, node: dict[str, Any], port: int) -> None:
        """The engine's own latency histograms; an engine without them has none on the page."""
        replica = self.replicas.known.get((node["name"], port))
        if replica is None or replica.missed is not None:
            return
        with contextlib.suppress(NoAnswer):
            status, body = await get(node["address"], port, "/metrics", seconds=PROBE_SECONDS)
            if status == 200:
                replica.measure(body.decode(errors="replace"), time.time())

    async def _watch_ray(self) -> None:
        rounds = 0
        while True:
            began = time.monotonic()
            try:
                answer = mapping(await self._ask_ray(NODES))
                rows = mapping(mapping(answer.get("data")).get("result")).get("result")
                if not isinstance(rows, list):
                    raise NoAnswer("broken", "Ray's dashboard answers without nodes")
                self.ray = newest(row for row in rows if isinstance(row, dict))
                self.ray_answers, self.ray_detail, self.ray_heard = True, "", time.time()
                if rounds % 2 == 0:
                    answer = mapping(mapping(await self._ask_ray("/nodes?view=summary")).get("data"))
                    rows = [mapping(row) for row in sequence(answer.get("summary"))]
                    self.machines = {text(mapping(row.get("raylet")).get("nodeId")): row for row in rows}
            except NoAnswer as error:
                self.ray_answers, self.ray_detail = False, str(error)
            try:
                self.serve = served(await self._ask_ray(APPLICATIONS), time.time())
            except NoAnswer:
                self.serve = {**self.serve, "status": "UNREACHABLE", "applications": {}, "replicas": []}
            rounds += 1
            await self._pause(began, periods=2)

    async def _ask_ray(self, path: str) -> Any:
        place = urlsplit(self.configuration["dashboard"])
        token_file = self.configuration["token_file"]
        try:
            token = Path(token_file).read_text().strip() if token_file else ""
        except OSError as error:
            raise NoAnswer("broken", f"{token_file}: {error.strerror}") from None
        status, body = await get(place.hostname or "", place.port or 80, path, seconds=RAY_SECONDS, token=token)
        if status != 200:
            raise NoAnswer("broken", f"Ray's dashboard answers {status}")
        return parsed(body)

    async def _tick(self) -> None:
        while True:
            began = time.monotonic()
            self._read_verify()
            self.replicas.record(time.time())
            ticked, self.ticked = self.ticked, asyncio.Event()
            ticked.set()
            await self._pause(began)

    async def _pause(self, began: float, periods: int = 1) -> None:
        """Until the next round: later while nobody looks and nothing happens, at once when somebody begins to look."""
        unseen = not self._is_looked_at() and self.replicas.idle(node["name"] for node in self._engine_nodes())
        period = max(self.period, UNSEEN_PERIOD_SECONDS) if unseen else self.period
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.1, periods * period - (time.monotonic() - began))):
                await self.looked.wait()

    def _engine_nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.nodes if node["engine_ports"]]

    def _is_looked_at(self) -> bool:
        return bool(self.listeners) or time.monotonic() - self.asked < LOOK_SECONDS

    def _look(self) -> None:
        """Somebody asks how the cluster is."""
        if not self._is_looked_at():
            looked, self.looked = self.looked, asyncio.Event()
            looked.set()
        self.asked = time.monotonic()

    def _read_verify(self) -> None:
        """The record that `cluster verify` left, read again when it is another file."""
        path = Path(self.configuration["verify_file"])
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if mark == self.verify_mark:
                return
            self.verify_mark = mark
            if status.st_size > VERIFY_BYTES:
                raise ValueError(f"it has {status.st_size} bytes, more than {VERIFY_BYTES}")
            self.verify = verify_record(json.loads(path.read_bytes()))
        except FileNotFoundError:
            self.verify, self.verify_mark = None, None
        except (OSError, ValueError, RecursionError) as error:
            detail = f"{path} cannot be read: {error}"
            failure = {"name": "record", "ok": None, "detail": detail, "remedy": "run `cluster verify` again"}
            self.verify = {"at": time.time(), "ok": None, "checks": None, "seconds": None, "failures": [failure]}

    def state(self, since: float = 0.0) -> dict[str, Any]:
        """All that is known; of the history the points after `since`."""
        at = time.time()
        history = [point for point in self.replicas.history if point["at"] > since]
        return {
            "cluster": self.configuration["cluster"],
            "at": round(at, 1),
            "endpoint": self.configuration["endpoint"],
            "models": self.configuration["models"],
            "span": self.configuration["span"],
            "ray": {"answers": self.ray_answers, "detail": self.ray_detail, "heard": round(self.ray_heard, 1)},
            "serve": self.serve,
            "nodes": [self._node(node) for node in self.nodes],
            "links": self.configuration["links"],
            "replicas": self.replicas.shown(at),
            "load": {**self.replicas.load(at), "history": history},
            "verify": self.verify,
        }

    def _node(self, node: dict[str, Any]) -> dict[str, Any]:
        row = self.ray.get(node["name"], {})
        machine = self.machines.get(text(row.get("node_id")), {})
        memory: list[Any] = sequence(machine.get("mem"))
        processors: list[Any] = sequence(machine.get("cpus"))
        total, _, _, used = (*memory, None, None, None, None)[:4]
        alive = row.get("state") == "ALIVE" if self.ray_answers else None
        reached = self.reached.get(node["name"])
        state = "unknown" if alive is None else "up" if alive else "down"
        if reached is False and state != "down":
            state = "silent"
        return {
            **{key: node[key] for key in ("name", "role", "label", "address", "accelerators")},
            "engine": bool(node["engine_ports"]),
            "model": node.get("model", ""),
            "state": state,
            "alive": alive,
            "detail": text(row.get("state_message")) if alive is False else "",
            "cpus": number(processors[0]) if processors else None,
            "gpus": number(mapping(row.get("resources_total")).get("GPU", 0)),
            "memory_bytes": number(total),
            "memory_used_bytes": number(used),
        }

    def answer(self, request: Request) -> Response:
        """A response to a GET."""
        if not is_own(request.headers.get("host", "")):
            said = "this service is called by its address"
            return Response(421, refusal(said, "invalid_request_error", 421), {"Content-Type": "application/json"})
        if request.path == "/favicon.ico":
            request = Request("GET", "/ui/icon.svg", request.headers)
        if not request.path.startswith("/cluster/"):
            return self.page.answer(request)
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **SECURITY}
        given = request.headers.get("authorization", "").encode("latin-1")
        if self.key and not hmac.compare_digest(given, b"Bearer " + self.key):
            return Response(401, refusal("missing or wrong API key", "invalid_request_error", 401), headers)
        if request.path in ("/cluster/state", "/cluster/events"):
            self._look()
        if request.path == "/cluster/state":
            return Response(200, dumped(self.state()), headers)
        if request.path == "/cluster/events":
            if self.listeners >= LISTENERS:
                return Response(503, refusal(f"{LISTENERS} pages are open already", "overloaded", 503), headers)
            return Response(200, self._events(), {**headers, "Content-Type": "text/event-stream"})
        return Response(404, refusal(f"no {request.path}", "not_found", 404), headers)

    async def _events(self) -> AsyncGenerator[bytes, None]:
        self.listeners += 1
        try:
            since = 0.0
            while True:
                ticked, state = self.ticked, self.state(since)
                since = max([since, *(point["at"] for point in state["load"]["history"])])
                yield b"event: state\ndata: " + dumped(state) + b"\n\n"
                await ticked.wait()
        finally:
            self.listeners -= 1


def newest(rows: Any) -> dict[str, dict[str, Any]]:
    """Ray's nodes by name: one that is alive before dead ones of the same name, then the one that began last."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row.get("state") == "ALIVE", number(row.get("start_time_ms")) or 0)):
        found[text(row.get("node_name"))] = row
    return found


def served(answer: Any, at: float) -> dict[str, Any]:
    """Serve's word on every application and on the state of each replica, clipped; `status` is the first that is not
    RUNNING, or NOT_STARTED where there is no application.
    """
    known = {name: mapping(row) for name, row in mapping(mapping(answer).get("applications")).items()}
    states = {text(name, 120): text(standing(row), 40) for name, row in known.items()}
    replicas = [
        {"deployment": text(name, 120), "address": text(row.get("node_ip"), 60), "state": text(row.get("state"), 40)}
        for application in known.values()
        for name, deployment in mapping(application.get("deployments")).items()
        for row in map(mapping, sequence(mapping(deployment).get("replicas")))
    ]
    first = next((status for status in states.values() if status != "RUNNING"), "RUNNING" if states else "NOT_STARTED")
    return {"status": first, "applications": states, "replicas": replicas, "heard": round(at, 1)}


def parsed(body: bytes) -> Any:
    """JSON, or None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def dumped(value: Any) -> bytes:
    """Compact JSON in one line."""
    return json.dumps(value, separators=(",", ":")).encode()


def refusal(message: str, kind: str, code: int) -> bytes:
    """An error in OpenAI's shape, as the gateway's own."""
    return dumped({"error": {"message": message, "type": kind, "param": None, "code": code}})


async def main(path: str) -> int:
    """Run until TERM; 2 when the configuration cannot be used."""
    try:
        watch = Watch(json.loads(Path(path).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path}: {type(error).__name__}: {error}; it is written by `cluster up`", file=sys.stderr)
        return 2
    stop = asyncio.Event()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number_, stop.set)
    try:
        await watch.run(stop)
    except OSError as error:
        place = f"{watch.configuration['address']}:{watch.configuration['port']}"
        print(f"cannot serve on {place}: {error.strerror or error}; is another cluster up here?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} CONFIGURATION.json")
    sys.exit(asyncio.run(main(sys.argv[1])))
