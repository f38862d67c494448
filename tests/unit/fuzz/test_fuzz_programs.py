"""What other processes say to the watch service and to an engine's API, spoiled: no answer is a 500, nothing hangs.

The API is tried as it stands on a node (engine_http.py's Identity over api_face.py's Face) and, over a socket with raw
bytes, behind the gateway's own HAProxy. The engine behind it is a stub that answers every body it is given.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.vllm.programs import openai_request
from deploys.vllm.programs.api_face import Face
from deploys.vllm.programs.engine_http import Identity
from deploys.vllm.programs.engine_life import Life
from deploys.vllm.programs.openai_request import RequestError
from deploys.vllm.programs.request_limits import CHOSEN, Limits, refusal
from deploys.watch.programs import watch_http, watch_state
from tests.unit.deploys.test_deploys_gateway import ADDRESS, Gateway, Stub
from tests.unit.fuzz.conftest import count, inputs, noise, odd_texts, spoiled, spoiled_text

PROOF = {
    "state": "serving",
    "replica": "a",
    "model": "m",
    "since": 1.0,
    "proofs": {"asked": 1, "failed": 0, "last": {"at": 1.0, "correct": True, "seconds": 0.1, "answer": "Paris"}},
    "requests": {"running": 1, "waiting": 2, "finished": 3},
    "kv_cache_usage": 0.1,
    "generated_tokens": 10,
    "prompt_tokens": 20,
}
RECORD = {"at": 1.0, "ok": False, "checks": 3, "seconds": 1.0, "failures": [{"name": "a", "ok": None, "detail": "b"}]}
METRICS = "".join(
    f'{name}_bucket{{engine="0",le="{bound}"}} {amount}\n'
    for name in watch_state.HISTOGRAMS.values()
    for bound, amount in (("0.1", "1.0"), ("1.0", "5.0"), ("+Inf", "6.0"))
)


@inputs(3)
@given(st.lists(spoiled(st.just(PROOF)) | noise, max_size=4), st.lists(spoiled_text(st.just(METRICS)), max_size=3))
def test_what_replicas_say_to_the_watch(words: list[Any], metrics: list[str]) -> None:
    count("watch state")
    replicas = watch_state.Replicas(10)
    for at, answer in enumerate(words):
        said = watch_state.proof(json.loads(json.dumps(answer, default=str)), node="a", address="192.0.2.1", port=1)
        if said:
            replicas.hear(said, float(at))
        else:
            replicas.miss("a", "192.0.2.1", 1, "silent", str(answer), float(at))
        for text in metrics:
            for replica in replicas.known.values():
                replica.measure(text, float(at))
        replicas.record(float(at))
        json.dumps([replicas.shown(float(at)), replicas.load(float(at)), list(replicas.history)], allow_nan=False)


@inputs(2)
@given(spoiled(st.just(RECORD)) | noise)
def test_a_record_of_verify(record: Any) -> None:
    count("verify record")
    try:
        json.dumps(watch_state.verify_record(record), allow_nan=False)
    except ValueError as error:
        assert "it " in str(error)


CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": "France?"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}],
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 5,
    "stop": ["a"],
    "stream": False,
    "n": 1,
    "logprobs": True,
    "top_logprobs": 3,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
}
COMPLETION = {"model": "m", "prompt": ["a", [1, 2]], "max_tokens": 5, "logprobs": 2, "echo": False, "best_of": 1}
BODIES = spoiled(st.sampled_from([CHAT, COMPLETION])) | noise
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/v1/models/m",
    "/cluster/ready",
    "/v1/embeddings",
    "/",
)
_LIFE = Life({"node": "a", "address": "192.0.2.1", "replica": "r", "model": "m"}, pending=lambda: 0)


async def _application(scope: Any, receive: Any, send: Any) -> None:
    """Answers what it was given, as an engine would that takes everything."""
    body = b""
    if scope["method"] == "POST":
        body = (await receive()).get("body", b"")
    told = {"data": [{"id": "m"}]} if scope["path"] == "/v1/models" else {"bytes": len(body)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def _ask(path: str, method: str, body: bytes, headers: list[tuple[bytes, bytes]], query: bytes) -> tuple[int, bytes]:
    told: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:7], "more_body": True},
        {"type": "http.request", "body": body[7:]},
    ]

    async def receive() -> dict[str, Any]:
        return rest.pop(0) if rest else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": headers, "query_string": query}
    whole = Identity(Face(_application, Limits("m", answers=8, length=2048, tools=CHOSEN)), _LIFE)
    asyncio.run(asyncio.wait_for(whole(scope, receive, send), 5))
    return told[0]["status"], b"".join(message.get("body", b"") for message in told)


@inputs(5)
@given(
    st.sampled_from(PATHS) | odd_texts,
    st.sampled_from(("POST", "POST", "GET", "HEAD", "DELETE", "ODD")),
    BODIES.map(lambda body: json.dumps(body, default=str).encode()) | st.binary(max_size=200),
    st.sampled_from((b"application/json", b"text/plain", b"", b"\xff", b"application/json; charset=\xe9")),
    st.binary(max_size=20),
)
def test_a_request_at_an_engines_door(path: str, method: str, body: bytes, kind: bytes, query: bytes) -> None:
    count("engine API")
    status, answer = _ask(path, method, body, [(b"host", b"127.0.0.1:8100"), (b"content-type", kind)], query)
    # An engine that has not given its golden answer yet is not ready, and says 503 on the page that is asked for that.
    assert 200 <= status < 500 or (status == 503 and path == "/cluster/ready")
    if status >= 400 and not path.startswith("/cluster"):
        assert json.loads(answer)["error"]["message"]


@inputs(5)
@given(BODIES)
def test_a_request_to_the_engine_for_transformers(body: Any) -> None:
    count("transformers API")
    text = json.dumps(body, default=str).encode()
    refusal("/v1/chat/completions", "application/json", text, Limits("m"))
    asked = json.loads(text)
    if not isinstance(asked, dict):
        return
    for read in (openai_request.refuse_what_is_not_here, openai_request.prompts, openai_request.messages):
        try:
            read(asked)
            openai_request.sampling(asked, 5)
        except RequestError as error:
            assert str(error)


HEAD = "POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
RAW = (
    HEAD + "Connection: close\r\n\r\n{{}}",
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
    HEAD + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
    "GET /cluster/state HTTP/1.0\r\n\r\n",
)


def _raw(host: str, port: int, text: str) -> bytes:
    """What a server says to these bytes until it ends the connection, or nothing more comes for two seconds."""
    with socket.create_connection((host, port), 5) as asked:
        asked.settimeout(5)
        said = b""
        try:
            asked.sendall(text.encode("latin-1", "replace"))
            asked.shutdown(socket.SHUT_WR)
            while part := asked.recv(65536):
                said += part
        except ConnectionError:
            pass
        return said


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway's own HAProxy before an engine that answers everything."""
    stub = Stub("127.0.0.83")
    running = Gateway(tmp_path_factory.mktemp("gateway"), [stub], request_seconds=4)
    try:
        running.settled(up=1)
        yield running
    finally:
        running.end()
        stub.end()


def test_raw_requests_at_the_gateway(gateway: Gateway) -> None:
    host = f"{ADDRESS}:{gateway.port}"

    @inputs(2)
    @given(spoiled_text(st.sampled_from([text.format(host=host, length=2) for text in RAW])))
    def asks(text: str) -> None:
        count("gateway")
        said = _raw(ADDRESS, gateway.port, text.replace("\n", "\r\n").replace("\r\r\n", "\r\n"))
        statuses = [int(line.split()[1]) for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        # 501 is the right word for a method or an encoding that nobody knows.
        assert all(status < 500 or status == 501 for status in statuses), (text, said)

    asks()
    assert gateway.ask("GET", "/v1/models")[0] == 200


@pytest.fixture(scope="module")
def watch() -> Iterator[int]:
    """The watch service's HTTP server, with pages that answer what was asked; its port."""
    loop = asyncio.new_event_loop()

    def answer(request: watch_http.Request) -> watch_http.Response:
        return watch_http.Response(200 if request.path.startswith("/cluster") else 404, request.path.encode())

    server = watch_http.Server(answer)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    loop.run_until_complete(server.start("127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield port
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def test_raw_requests_at_the_watch(watch: int) -> None:
    @inputs(2)
    @given(spoiled_text(st.sampled_from([text.format(host="127.0.0.1", length=2) for text in RAW])))
    def asks(text: str) -> None:
        count("watch HTTP")
        said = _raw("127.0.0.1", watch, text.replace("\n", "\r\n").replace("\r\r\n", "\r\n"))
        statuses = [int(line.split()[1]) for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        assert all(status < 500 for status in statuses), (text, said)

    asks()
    assert b"200 OK" in _raw("127.0.0.1", watch, "GET /cluster/state HTTP/1.1\r\nConnection: close\r\n\r\n")
