"""The receiver of traces, asked as exporters ask it."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from deploys.observability.programs.otlp_receiver import BODY_BYTES, Receiver, Store
from deploys.observability.programs.otlp_spans import of_json, of_protobuf
from experiments.telemetry.spans import received

ADDRESS = "127.0.0.94"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
FIXTURE = Path(__file__).parent / "fixtures" / "otlp-request.bin"
SPAN = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "spanId": "b7ad6b7169203331",
    "parentSpanId": "00f067aa0ba902b7",
    "name": "llm_request",
    "startTimeUnixNano": "1796048531000000000",
    "endTimeUnixNano": "1796048531500000000",
    "attributes": [
        {"key": "gen_ai.latency.e2e", "value": {"doubleValue": 0.5}},
        {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": "12"}},
        {"key": "stops", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"boolValue": True}]}}},
    ],
}
RESOURCE = {"attributes": [{"key": "cluster.node", "value": {"stringValue": "worker1"}}]}
BODY = json.dumps({"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": [SPAN]}]}]}).encode()


@contextlib.contextmanager
def receiver(path: Path, most_bytes: int = 10**6) -> Iterator[Receiver]:
    server = Receiver((ADDRESS, 0), Store(path, most_bytes))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ask(
    server: Receiver, body: bytes, kind: str = JSON, *, path: str = "/v1/traces", **headers: str
) -> tuple[int, str]:
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), port, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_spans_are_kept_as_they_came(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    with receiver(file) as server:
        assert ask(server, BODY) == (200, "{}")
        assert ask(server, gzip.compress(BODY), **{"Content-Encoding": "gzip"})[0] == 200
        assert server.store.counts() == {"kept": 2, "lost": 0, "refused": 0}
    first, second = (received(json.loads(line)) for line in file.read_text().splitlines())
    assert first == second and file.stat().st_mode & 0o777 == 0o600
    assert (first.trace, first.parent, first.node) == (SPAN["traceId"], SPAN["parentSpanId"], "worker1")
    assert (first.began, first.ended) == (1796048531.0, 1796048531.5)
    assert first.attributes["stops"] == ["a", True] and first.attributes["gen_ai.usage.prompt_tokens"] == 12


def test_the_exporters_own_bytes_are_read() -> None:
    """What OpenTelemetry's Python SDK 1.45.2, the runtime's, made of one span (encode_spans of its OTLP exporter)."""
    (span,) = of_protobuf(FIXTURE.read_bytes())
    assert (span["name"], span["trace"], span["parent"]) == (
        "llm_request",
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
    )
    assert (span["began"], span["ended"]) == (1796048531.0, 1796048531.5)
    assert span["resource"]["cluster.node"] == "worker1"
    assert span["attributes"] == {
        "gen_ai.latency.e2e": 0.5,
        "gen_ai.usage.prompt_tokens": 12,
        "below": -3,
        "streamed": True,
        "stops": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"\x0a\xff\x01", PROTOBUF, 400, "ends beyond"),
        (b"\xff", PROTOBUF, 400, "cut off"),
        (b"[]", JSON, 400, "no OTLP export"),
        (b"{", JSON, 400, ""),
        (b"{}", "text/plain", 415, "application/x-protobuf"),
    ],
)
def test_what_is_no_trace_is_refused_with_words(tmp_path: Path, body: bytes, kind: str, status: int, said: str) -> None:
    with receiver(tmp_path / "spans.jsonl") as server:
        found = ask(server, body, kind)
        assert found[0] == status and said in found[1]
        assert ask(server, BODY)[0] == 200, "and the next one is taken"


def test_large_and_foreign_requests_are_refused(tmp_path: Path) -> None:
    with receiver(tmp_path / "spans.jsonl") as server:
        assert ask(server, b"", **{"Content-Length": str(BODY_BYTES + 1)})[0] == 413
        assert ask(server, gzip.compress(b" " * (BODY_BYTES + 1)), **{"Content-Encoding": "gzip"})[0] == 400
        assert ask(server, BODY, path="/v1/metrics")[0] == 404
        assert ask(server, BODY, Host="stranger.example")[0] == 421


def test_a_full_disk_costs_spans_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with receiver(Path("/dev/full")) as server:
        assert ask(server, BODY)[0] == 503
        assert server.store.counts()["lost"] == 1
    assert "/dev/full: No space left on device; 1 spans are lost" in capsys.readouterr().err


def test_the_file_is_turned_over_once(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    with receiver(file, most_bytes=1000) as server:
        for _ in range(7):
            assert ask(server, BODY)[0] == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spans.jsonl", "spans.jsonl.1"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


@settings(max_examples=25, deadline=None)
@given(some.binary(max_size=200))
def test_no_bytes_break_the_decoder(body: bytes) -> None:
    for read in (of_protobuf, of_json):
        with contextlib.suppress(ValueError):
            read(body)
