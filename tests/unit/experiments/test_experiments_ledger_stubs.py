"""The whole way of a ledger's books: stub engines behind a real HAProxy, spans by OTLP, the gateway's own log."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploys.gateway.choice import Engine
from deploys.observability.programs.otlp_receiver import Receiver, Store
from experiments import servers
from experiments.ledger import build, named, sums
from experiments.ledger.rows import ALL, Row
from experiments.telemetry import gateway_log
from experiments.telemetry.spans import Span, received
from tests.unit.deploys.test_deploys_gateway import ADDRESS as GATEWAY_ADDRESS
from tests.unit.deploys.test_deploys_gateway import Gateway, wait_until

ADDRESS = "127.0.0.93"
TTFT_MS, ITL_MS, TOKENS = 15.0, 2.0, 5
PLANTED_MS = 20.0
REQUESTS = 40


@dataclass(frozen=True)
class Record:
    """A request as its client saw it."""

    number: int
    sent: float
    ended: float
    node: str
    trace: str
    due: float | None = None
    step: str = "stubs"
    warm_up: bool = False
    replica: str = "stub"


@dataclass
class Place:
    """Where a stub listens, under its node's name."""

    place: Engine


def ask(connection: http.client.HTTPConnection, number: int) -> Record:
    trace = secrets.token_hex(16)
    headers = {"Content-Type": "application/json", "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    body = json.dumps({"model": "stub", "max_tokens": TOKENS, "stream": True, "messages": []})
    sent = time.time()
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    ended = time.time()
    assert answer.status == 200 and text.rstrip().endswith(b"data: [DONE]")
    return Record(number, sent, ended, answer.headers["x-cluster-node"], trace)


@contextlib.contextmanager
def receiving(path: Path) -> Iterator[tuple[str, Store]]:
    store = Store(path)
    server = Receiver((ADDRESS, 0), store)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{ADDRESS}:{server.server_address[1]}/v1/traces", store
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Requests to two stubs in turn, of which worker2 is slower to the first token."""
    place = tmp_path_factory.mktemp("ledger")
    with contextlib.ExitStack() as stack:
        url, store = stack.enter_context(receiving(place / "spans.jsonl"))
        places = []
        for node, more in (("worker1", 0.0), ("worker2", PLANTED_MS)):
            port = servers.free_port(ADDRESS)
            stack.enter_context(
                servers.stub(ADDRESS, port, TTFT_MS + more, ITL_MS, flags=["--name", node, "--traces", url])
            )
            places.append(Place(Engine(f"{node}-{port}", ADDRESS, port)))
        gateway = Gateway(place, places)
        stack.callback(gateway.end)
        gateway.settled(up=2)
        connection = http.client.HTTPConnection(GATEWAY_ADDRESS, gateway.port, timeout=30)
        records = [ask(connection, number) for number in range(REQUESTS)]
        connection.close()
        wait_until(lambda: store.kept >= REQUESTS)
        spans = [received(json.loads(line)) for line in (place / "spans.jsonl").read_text().splitlines()]
        wait_until(lambda: len(_gateway_spans(place / "log")) >= REQUESTS)
        spans += _gateway_spans(place / "log")
    return build(records, spans)


def _gateway_spans(log: Path) -> list[Span]:
    found = (gateway_log.parse_line(line) for line in log.read_text().splitlines())
    return [line.span("head") for line in found if line is not None and line.trace]


def test_every_request_is_in_all_three_books(rows: list[Row]) -> None:
    assert [row.known for row in rows] == [ALL] * REQUESTS
    assert {row.node for row in rows} == {"worker1", "worker2"}


def test_the_parts_are_the_whole(rows: list[Row]) -> None:
    judged = sums(rows)
    assert judged.ok, judged.detail


def test_the_slow_node_is_named_by_its_part(rows: list[Row]) -> None:
    first = named(rows)[0]
    assert (first.node, first.part) == ("worker2", "prefill")
    assert first.excess_ms == pytest.approx(PLANTED_MS, abs=3)
