"""engine_http.py in front of a small ASGI application: who answers, its state, its port, its end. uvicorn for real."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploys.vllm.programs import engine_http, engine_life

ADDRESS = f"127.85.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # ports here are fixed, and tests run side by side
ABOUT = {"node": "worker1", "address": ADDRESS, "replica": "abc", "model": "m", "engine": "vllm"}
RIGHT = {"correct": True, "seconds": 0.1, "answer": "Paris.", "detail": ""}


class Served:
    """A listener in a thread of its own, and what the application's requests wait for."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.life = engine_life.Life(ABOUT, pending=lambda: 0, ended=self.gone.is_set)
        self.life.proved(RIGHT)
        self.loop = asyncio.new_event_loop()
        self.hold = threading.Event()
        self.hold.set()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                for answer in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{answer}.complete"})
                return
            while (await receive()).get("more_body"):
                pass
            while not self.hold.is_set():
                await asyncio.sleep(0.02)
            if scope["path"] == "/v1/stream":
                await stream(send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"said", "more_body": False})

        async def stream(send: Any) -> None:
            """A head, and an event each time that the test lets one go."""
            kind = (b"content-type", b"text/event-stream; charset=utf-8")
            await send({"type": "http.response.start", "status": 200, "headers": [kind]})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            while True:
                while not self.events:
                    await asyncio.sleep(0.02)
                await send({"type": "http.response.body", "body": self.events.pop(0), "more_body": True})

        self.events: list[bytes] = []
        self.listener = engine_http.Listener(
            engine_http.Identity(application, self.life), engine_http.bind(ADDRESS, 8190, 8191)
        )
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.run(self.listener.start())

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def leave(self) -> None:
        """What no process ends here has to be ended: a stream goes on, and an answer that is held back waits."""
        for task in asyncio.all_tasks():
            if "run_asgi" in repr(task):
                task.cancel()
        await self.listener.drain(0)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Any:
        connection = http.client.HTTPConnection(ADDRESS, self.listener.port, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())


@pytest.fixture
def serve() -> Iterator[Callable[[], Served]]:
    made: list[Served] = []

    def start() -> Served:
        made.append(Served())
        return made[-1]

    yield start
    for served in made:
        served.hold.set()
        served.run(served.leave())
        served.loop.call_soon_threadsafe(served.loop.stop)


def test_every_answer_says_who_gave_it(serve: Any) -> None:
    status, body, headers = serve().ask("/v1/models")
    assert (status, body) == (200, b"said")
    assert [headers[f"x-cluster-{key}"] for key in ("node", "address", "replica")] == ["worker1", ADDRESS, "abc"]


def test_a_page_of_a_strangers_site_reads_nothing(serve: Any) -> None:
    served = serve()
    for path in ("/v1/models", "/cluster/ready", "/cluster/proof"):
        assert served.ask(path, host="evil.example:8100")[0] == 421
        assert served.ask(path, host="engine")[0] == 200, "as the gateway calls it"


@pytest.mark.parametrize(("state", "status"), [("serving", 200), ("wrong", 503), ("wedged", 503), ("draining", 404)])
def test_readiness_is_a_status(serve: Any, state: str, status: int) -> None:
    served = serve()
    if state == "wrong":
        served.life.proved({**RIGHT, "correct": False, "detail": "said Lyon"})
    elif state == "wedged":
        served.life.silent("no token")
    served.life.draining = state == "draining"
    got, body, _ = served.ask("/cluster/ready?model=m")
    assert (got, json.loads(body)["state"]) == (status, state)
    assert served.ask("/cluster/ready?model=other")[0] == 503
    assert json.loads(served.ask("/cluster/proof")[1])["state"] == state


def test_a_second_engine_takes_the_next_port_and_a_third_is_refused() -> None:
    taken = [engine_http.bind(ADDRESS, 8195, 8196) for _ in range(2)]
    try:
        assert [entry.getsockname()[1] for entry in taken] == [8195, 8196]
        with pytest.raises(OSError, match="every port from 8195 to 8196 is taken"):
            engine_http.bind(ADDRESS, 8195, 8196)
        with pytest.raises(OSError, match=r"203\.0\.113\.1:8195"):
            engine_http.bind("203.0.113.1", 8195, 8196)
    finally:
        for entry in taken:
            entry.close()


def test_draining_waits_for_a_running_request_and_then_listens_no_more(serve: Any) -> None:
    served = serve()
    served.hold.clear()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(served.ask("/v1/models")))
    asking.start()
    while not served.listener.app.open:
        pass
    ending = asyncio.run_coroutine_threadsafe(served.listener.drain(20), served.loop)
    while served.ask("/cluster/ready")[0] != 404:
        pass
    served.hold.set()
    ending.result(30)
    asking.join(20)
    assert answers[0][0] == 200
    with pytest.raises(OSError):
        socket.create_connection((ADDRESS, served.listener.port), 2)


def _stream(served: Served) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(ADDRESS, served.listener.port, timeout=20)
    connection.request("GET", "/v1/stream")
    while not served.listener.app.open:
        pass
    return connection


def _silent(connection: http.client.HTTPConnection) -> bool:
    """Whether not a byte has come for a moment."""
    assert connection.sock
    return not select.select([connection.sock], [], [], 0.3)[0]


def test_no_byte_is_sent_before_the_first_of_the_answer_itself(serve: Any) -> None:
    served = serve()
    waiting = _stream(served)
    assert _silent(waiting)
    served.events.append(b"data: {}\n\n")
    answer = waiting.getresponse()
    assert (answer.status, answer.headers["x-cluster-node"], answer.readline()) == (200, "worker1", b"data: {}\n")
    waiting.close()


@pytest.mark.parametrize("how", ["ended", "wedged"])
def test_a_stream_that_has_begun_ends_with_an_error_and_another_is_left_to_the_gateway(serve: Any, how: str) -> None:
    served = serve()
    begun, waiting = _stream(served), None
    served.events.append(b"data: {}\n\n")
    answer = begun.getresponse()
    assert [answer.readline() for _ in range(2)] == [b"data: {}\n", b"\n"]
    waiting = _stream(served)
    if how == "ended":
        served.gone.set()
        served.events += [b"data: what the application says of it\n\n"] * 2
    else:
        served.run(served.listener.app.break_off())
        served.events.append(b"data: too late\n\n")
    (line,) = [entry for entry in answer.read().splitlines() if entry]
    error = json.loads(line.removeprefix(b"data: "))["error"]
    assert error == {
        "message": "the engine ended while it answered; ask again",
        "type": "server_error",
        "param": None,
        "code": 502,
    }
    if how == "ended":
        assert _silent(waiting)
    for connection in (begun, waiting):
        connection.close()


def test_requests_are_kept_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve: Any
) -> None:
    log = tmp_path / "prompts.jsonl"
    serve().ask("/v1/completions", "POST", b'{"prompt": "quiet"}')
    assert not log.exists()
    monkeypatch.setenv("CLUSTER_PROMPT_LOG", str(log))
    serve().ask("/v1/completions", "POST", b'{"prompt": "loud"}')
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().endswith("\n")):  # it is written after the answer was sent
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (line,) = log.read_text().splitlines()
    assert {key: json.loads(line)[key] for key in ("node", "replica", "request")} == {
        "node": "worker1",
        "replica": "abc",
        "request": '{"prompt": "loud"}',
    }
    assert log.stat().st_mode & 0o777 == 0o600
