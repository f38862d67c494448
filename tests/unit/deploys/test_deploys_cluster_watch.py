"""cluster_watch.py as a process: what it says of engines that serve, hang, are wedged or absent, and of Ray."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from facts.parse.cluster_state import parse_serve
from tests import watched
from tests.watched import FIRST, HEAD, SECOND, THIRD, Engine, Ray, Watching, wait_until

NODES = {"head": HEAD, "worker1": FIRST, "worker2": SECOND, "worker3": THIRD}
Start = Callable[..., Watching]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Ends what was started, in the opposite order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def ray(closing: ExitStack) -> Ray:
    dashboard = Ray(NODES)
    closing.callback(dashboard.close)
    return dashboard


@pytest.fixture
def engine(closing: ExitStack) -> Engine:
    first = Engine("worker1", FIRST)
    closing.callback(first.close)
    return first


@pytest.fixture
def start(tmp_path: Path, closing: ExitStack, ray: Ray) -> Start:
    def run(ports: dict[str, list[int]], **more: Any) -> Watching:
        watching = Watching(tmp_path, ray, ports, **more)
        watching.start()
        closing.callback(watching.stop)
        return watching

    return run


def replica(state: dict[str, Any], node: str) -> dict[str, Any] | None:
    return next((entry for entry in state["replicas"] if entry["node"] == node), None)


def node(state: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in state["nodes"] if entry["name"] == name)
    return found


def states(state: dict[str, Any]) -> dict[str, str]:
    return {entry["node"]: entry["state"] for entry in state["replicas"]}


def test_one_serves_one_hangs_one_is_wedged_one_is_absent(
    start: Start, engine: Engine, closing: ExitStack, ray: Ray
) -> None:
    hanging, wedged = Engine("worker2", SECOND), Engine("worker3", THIRD)
    closing.callback(hanging.close)
    closing.callback(wedged.close)
    hanging.silent = True
    wedged.said |= {"state": "wedged", "reason": "no token for 14 s"}
    absent = watched.free_port(THIRD)
    watching = start({"worker1": [engine.port], "worker2": [hanging.port], "worker3": [wedged.port, absent]})
    state = watching.until(
        lambda state: (
            states(state) == {"worker1": "serving", "worker2": "silent", "worker3": "wedged"}
            and all(entry["alive"] for entry in state["nodes"])
        )
    )
    first = replica(state, "worker1")
    assert first is not None
    # What the replica said of itself is handed on as it was.
    for key in ("replica", "model", "since", "proofs", "requests", "kv_cache_usage", "generated_tokens"):
        assert first[key] == engine.said[key], key
    assert (first["node"], first["address"], first["port"]) == ("worker1", FIRST, engine.port)
    third = replica(state, "worker3")
    assert third is not None and third["reason"] == "no token for 14 s"
    assert [entry["label"] for entry in state["nodes"]][:2] == ["Head Node", "Worker Node #1"]
    assert node(state, "worker1")["memory_used_bytes"] == 15_000_000_000
    assert node(state, "worker1")["cpus"] == 8
    assert state["links"][0]["members"] == list(NODES)
    assert ray.asked_without_token == 0

    # The hanging one holds nobody up: what the first says is known again at once.
    engine.said["state"] = "draining"
    began = time.monotonic()
    watching.until(lambda state: states(state)["worker1"] == "draining")
    assert time.monotonic() - began < 1.2


def test_a_replica_that_ends_is_gone_and_another_takes_its_place(start: Start, closing: ExitStack) -> None:
    old = Engine("worker1", FIRST)
    closing.callback(old.close)
    watching = start({"worker1": [old.port, old.port + 1]})
    watching.until(lambda state: states(state) == {"worker1": "serving"})
    old.close()
    state = watching.until(lambda state: states(state) == {"worker1": "gone"})
    assert state["load"]["running"] == 0
    new = Engine("worker1", FIRST, old.port)
    closing.callback(new.close)
    new.said["replica"] = "worker1-new"
    state = watching.until(lambda state: states(state) == {"worker1": "serving"})
    found = replica(state, "worker1")
    assert found is not None and found["replica"] == "worker1-new"


def test_rates_and_latency(start: Start, engine: Engine) -> None:
    engine.said["requests"] = {"running": 3, "waiting": 2, "finished": 40}
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: states(state) == {"worker1": "serving"})
    going = threading.Event()

    def generate() -> None:
        while not going.wait(0.05):
            engine.said["generated_tokens"] += 5
            engine.counts = [engine.counts[0] + 1, engine.counts[1] + 1, engine.counts[2] + 1]

    thread = threading.Thread(target=generate)
    thread.start()
    try:
        state = watching.until(
            lambda state: state["load"]["tokens_per_second"] > 20 and state["load"]["ttft_seconds"] is not None
        )
    finally:
        going.set()
        thread.join(5)
    load = state["load"]
    assert load["tokens_per_second"] <= 110  # 5 tokens in not less than 0.05 s
    assert (load["running"], load["waiting"]) == (3, 2)
    # All within the first bucket, up to 0.1 s: linear within it.
    assert load["ttft_seconds"]["median"] == pytest.approx(0.05, abs=0.01)
    assert load["ttft_seconds"]["p99"] == pytest.approx(0.099, abs=0.01)
    assert load["history"][-1]["replicas"][f"worker1:{engine.port}"][1:] == [3, 2]


def test_counters_that_begin_anew_are_no_negative_rate(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: states(state) == {"worker1": "serving"})
    engine.said |= {"generated_tokens": 3, "requests": {"running": 0, "waiting": 0, "finished": 0}}
    state = watching.until(lambda state: (replica(state, "worker1") or {}).get("generated_tokens") == 3)
    assert all(point["tokens_per_second"] >= 0 for point in state["load"]["history"])
    assert state["load"]["tokens_per_second"] == 0


def test_it_starts_before_anything_else_and_says_what_is_missing(tmp_path: Path, ray: Ray, start: Start) -> None:
    ray.close()
    watching = start({"worker1": [watched.free_port(FIRST)]})
    state = watching.until(lambda state: "nothing listens" in state["ray"]["detail"])
    assert state["ray"]["answers"] is False
    assert {entry["state"] for entry in state["nodes"]} == {"unknown"}
    assert {entry["alive"] for entry in state["nodes"]} == {None}
    assert (state["replicas"], state["verify"]) == ([], None)
    assert state["load"]["ttft_seconds"] is None


def test_what_serve_says_is_known_with_when_it_was_heard(start: Start, ray: Ray, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    state = watching.until(lambda state: state["serve"]["heard"])
    parsed = parse_serve(json.loads(watched.SERVE_CAPTURED.read_text()))
    assert (state["serve"]["status"], state["serve"]["applications"]) == (parsed.status, parsed.applications)
    assert state["serve"]["replicas"] == [
        {"deployment": replica.deployment, "address": replica.node_address, "state": replica.state}
        for replica in parsed.replicas
    ]
    assert 0 <= state["at"] - state["serve"]["heard"] < 30 and 0 <= state["at"] - state["ray"]["heard"] < 30
    ray.close()
    state = watching.until(lambda state: state["serve"]["status"] == "UNREACHABLE")
    assert (state["serve"]["applications"], state["serve"]["replicas"]) == ({}, [])


def test_a_node_that_ray_calls_dead(start: Start, ray: Ray, engine: Engine) -> None:
    ray.dead.add("worker2")
    watching = start({"worker1": [engine.port]})
    state = watching.until(lambda state: state["ray"]["answers"])
    assert node(state, "worker2")["state"] == "down"
    assert "health check failed" in node(state, "worker2")["detail"]
    assert node(state, "worker1")["state"] == "up"


@pytest.mark.parametrize(
    "answer",
    [[], {"state": "splendid", "replica": "a"}, {"state": "serving"}, b"\xff\x00 not JSON", b"[" * 100_000],
    ids=["a list", "another state", "no replica", "no JSON", "deep JSON"],
)
def test_what_is_no_proof_is_no_replica(start: Start, engine: Engine, answer: Any) -> None:
    good = engine.said
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: states(state) == {"worker1": "serving"})
    engine.said = answer
    watching.until(lambda state: states(state) == {"worker1": "unreadable"})
    engine.said = good
    watching.until(lambda state: states(state) == {"worker1": "serving"})


@pytest.mark.parametrize(
    "nonsense",
    [
        {"data": {"result": {"result": [None, 7, {"node_name": ["x"], "start_time_ms": "soon"}]}, "summary": [1, {}]}},
        {
            "data": {
                "result": {"result": [{"node_name": "head", "state": "ALIVE", "resources_total": 5, "node_id": 7}]},
                "summary": [{"raylet": {"nodeId": 7}, "mem": 5, "cpus": {"a": 1}}],
            }
        },
        {"data": {"result": {"result": "no"}}},
        [[[]]],
        b"\x00",
    ],
)
def test_a_dashboard_that_talks_nonsense_ends_nothing(start: Start, ray: Ray, engine: Engine, nonsense: Any) -> None:
    ray.nonsense = nonsense
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: states(state) == {"worker1": "serving"})
    watching.until(lambda state: state["ray"]["detail"] != "not asked yet")
    watching.until(lambda state: len(state["load"]["history"]) > 5)
    ray.nonsense = None
    watching.until(lambda state: node(state, "worker1")["state"] == "up")


def test_numbers_that_are_none_end_nothing(start: Start, engine: Engine) -> None:
    name = "vllm:time_to_first_token_seconds_bucket"
    counts = ("1.2.3", "1e+400", "99999999999999999999", "5")
    engine.metrics_text = "".join(
        f'{name}{{le="{bound}"}} {count}\n' for bound in ("0.1", "nan", "x", "-1", "+Inf") for count in counts
    )
    engine.said["generated_tokens"] = 10**400
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: len(state["load"]["history"]) > 8)
    state = watching.state()
    assert states(state) == {"worker1": "serving"}
    assert b"NaN" not in watching.get("/cluster/state")[1] and b"Infinity" not in watching.get("/cluster/state")[1]


def test_a_port_that_is_taken_is_said(tmp_path: Path, ray: Ray, engine: Engine) -> None:
    watching = Watching(tmp_path, ray, {"worker1": [engine.port]})
    watching.file.write_text(json.dumps(watching.configuration))
    with socket.create_server((HEAD, watching.port)):
        done = subprocess.run(
            [sys.executable, "-m", "deploys.watch.programs.cluster_watch", str(watching.file)],
            cwd=watched.REPOSITORY,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert f"{HEAD}:{watching.port}" in done.stderr and "Traceback" not in done.stderr


def test_what_a_replica_says_is_clipped(start: Start, engine: Engine) -> None:
    engine.said |= {"reason": "x" * 100_000, "generated_tokens": float("nan"), "kv_cache_usage": "<script>", "more": 1}
    watching = start({"worker1": [engine.port]})
    state = watching.until(lambda state: states(state) == {"worker1": "serving"})
    found = replica(state, "worker1")
    assert found is not None and len(found["reason"]) == 400 and "more" not in found
    assert (found["generated_tokens"], found["kv_cache_usage"]) == (0, None)


def test_the_record_of_verify_is_read_when_it_changes(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    failure = {"name": "service", "ok": False, "detail": "worker1: down", "remedy": "run `cluster up`"}
    record = {"at": 1_700_000_000, "ok": False, "checks": 43, "seconds": 9.1, "failures": [failure]}

    def write(text: str) -> None:
        staged = watching.verify_file.with_suffix(".new")
        staged.write_text(text)
        staged.rename(watching.verify_file)

    write(json.dumps(record))
    assert watching.until(lambda state: state["verify"] is not None)["verify"] == record
    write(json.dumps({**record, "ok": True, "failures": []}))
    watching.until(lambda state: state["verify"]["ok"] is True)
    for broken in ("", "[]", '{"at": "now"}', json.dumps({**record, "failures": "x" * 600_000})):
        write(broken)
        state = watching.until(lambda state: state["verify"]["ok"] is None)
        (entry,) = state["verify"]["failures"]
        assert "cannot be read" in entry["detail"] and entry["remedy"]
        write(json.dumps(record))
        watching.until(lambda state: state["verify"]["ok"] is False)
    watching.verify_file.unlink()
    watching.until(lambda state: state["verify"] is None)


def events(watching: Watching, number: int) -> list[dict[str, Any]]:
    """So many events of one stream; none when it is refused."""
    found: list[dict[str, Any]] = []
    with socket.create_connection((HEAD, watching.port), 10) as connection:
        connection.sendall(b"GET /cluster/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream = connection.makefile("rb")
        if b" 200 " not in stream.readline():
            return []
        for line in stream:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if len(found) == number:
                    break
    return found


def test_events_bring_the_history_once_and_then_what_is_new(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    watching.until(lambda state: len(state["load"]["history"]) > 4)
    first, *later = events(watching, 4)
    assert len(first["load"]["history"]) > 4
    times = [point["at"] for event in (first, *later) for point in event["load"]["history"]]
    assert times == sorted(set(times)), "no point comes twice"
    assert all(len(event["load"]["history"]) <= 2 for event in later)
    assert set(first) == set(watching.state())


def test_the_history_is_bounded(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]}, retention_seconds=1)
    watching.until(lambda state: len(state["load"]["history"]) == 5)
    last = watching.state()["load"]["history"][-1]["at"]
    state = watching.until(lambda state: state["load"]["history"][-1]["at"] > last + 0.5)
    assert len(state["load"]["history"]) == 5


def test_not_more_than_64_pages_at_once(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    with ExitStack() as open_pages:
        for _ in range(64):
            connection = open_pages.enter_context(socket.create_connection((HEAD, watching.port), 10))
            connection.sendall(b"GET /cluster/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in connection.recv(4096)
        status, body, _ = watching.get("/cluster/events")
        assert status == 503 and json.loads(body)["error"]["code"] == 503
    wait_until(lambda: bool(events(watching, 1)), 10, "a page is closed and another may open")


def test_the_page_and_nothing_else_is_served(start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    status, body, headers = watching.get("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    for name in sorted(path.name for path in watched.PAGE.iterdir()):
        status, found, headers = watching.get(f"/ui/{name}")
        assert (status, found) == (200, (watched.PAGE / name).read_bytes())
        assert watching.get(f"/ui/{name}", **{"If-None-Match": headers["etag"]})[0] == 304
    assert watching.get("/ui/index.html")[1] == body
    for path in (
        "/ui/",
        "/ui/../declared.py",
        "/ui/%2e%2e/x",
        "/cluster/",
        "/cluster/other",
        "/style.css",
    ):
        assert watching.get(path)[0] == 404, path


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /cluster/state HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"PUT /cluster/verify HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
    ],
    ids=["POST", "nobody writes the record over HTTP", "no HTTP", "a large head"],
)
def test_what_is_refused(start: Start, engine: Engine, request_bytes: bytes, status: bytes) -> None:
    watching = start({"worker1": [engine.port]})
    with socket.create_connection((HEAD, watching.port), 10) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(4096).split(b" ")[1] == status
    assert watching.get("/cluster/state")[0] == 200


def test_where_the_api_wants_a_key_so_does_the_state(tmp_path: Path, start: Start, engine: Engine) -> None:
    key_file = tmp_path / "api-key"
    key_file.write_text("the-key-of-a-test\n")
    watching = start({"worker1": [engine.port]}, key_file=str(key_file))
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "the-key-of-a-test"}):
        for path in ("/cluster/state", "/cluster/events", "/cluster/other"):
            status, body, _ = watching.get(path, **headers)
            assert (status, json.loads(body)["error"]["code"]) == (401, 401)
    assert watching.get("/cluster/state", Authorization="Bearer the-key-of-a-test")[0] == 200
    assert watching.get("/")[0] == 200, "the page itself is open: it asks for the key"


def test_term_ends_it_at_once_with_pages_open(tmp_path: Path, ray: Ray, engine: Engine) -> None:
    watching = Watching(tmp_path, ray, {"worker1": [engine.port]})
    watching.start()
    assert watching.process is not None
    with socket.create_connection((HEAD, watching.port), 10) as connection:
        connection.sendall(b"GET /cluster/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096)
        os.kill(watching.process.pid, signal.SIGTERM)
        said, _ = watching.process.communicate(timeout=10)
    assert (watching.process.returncode, said) == (0, "")


@pytest.mark.parametrize("text", [None, "", "{}", '{"cluster": 1}'])
def test_a_configuration_that_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "watch.json"
    if text is not None:
        file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "deploys.watch.programs.cluster_watch", str(file)],
        cwd=watched.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert str(file) in done.stderr and "cluster up" in done.stderr and "Traceback" not in done.stderr


def test_a_page_of_a_strangers_site_reads_nothing(tmp_path: Path, start: Start, engine: Engine) -> None:
    watching = start({"worker1": [engine.port]})
    for path in ("/cluster/state", "/cluster/events", "/"):
        assert watching.get(path, Host="evil.example")[0] == 421
    assert watching.get("/cluster/state", Host="localhost:8090")[0] == 200
