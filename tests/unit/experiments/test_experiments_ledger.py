"""The ledger from books that are made here: what each says is known, and so is what the parts have to be."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from experiments.ledger import build, named, sums
from experiments.ledger.rows import ALL, CLIENT_ONLY, DECODE, ENGINE_SPAN, GATEWAY_ONLY, PREFILL, QUEUE, WHOLE, Row
from experiments.telemetry import gateway_log, tables
from experiments.telemetry.spans import Span

T0 = 1_796_000_000.0


@dataclass(frozen=True)
class Asked:
    """A request's record, as far as the ledger looks at it."""

    number: int = 0
    step: str = "rate=4"
    warm_up: bool = False
    due: float | None = None
    sent: float = T0
    ended: float = T0 + 0.5
    node: str = "worker1"
    replica: str = "r1"
    trace: str = "a" * 32


def gateway_span(whole: int, first: int, rest: int, trace: str = "a" * 32) -> Span:
    about = {"gateway.whole_ms": whole, "gateway.first_byte_ms": first, "gateway.sent_ms": rest}
    about |= {"gateway.received_ms": whole - first - rest, "gateway.queued_ms": 0, "gateway.connected_ms": 0}
    return Span(trace, "1" * 16, "", gateway_log.NAME, "head", T0, T0 + whole / 1000, about)


def engine_span(parts: Sequence[float], whole: float, trace: str = "a" * 32, **changes: Any) -> Span:
    about = dict(zip((QUEUE, PREFILL, DECODE), (part / 1000 for part in parts), strict=True))
    span = Span(trace, "2" * 16, "", ENGINE_SPAN, "worker1", T0 + 0.01, T0 + 0.49, {**about, WHOLE: whole / 1000})
    return replace(span, **changes)


def flow(node: str, peer: str, trip: float) -> dict[str, Any]:
    return {"node": node, "peer": peer, "protocol": "tcp", "rtt_ms": trip}


def only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


def test_each_part_is_what_its_own_book_says(tmp_path: Path) -> None:
    record = Asked(due=T0 - 0.004, ended=T0 + 0.5)
    spans = [gateway_span(494, 100, 390), engine_span((30, 60, 380), 478)]
    flows = [flow("worker1", "head", 2.0), flow("head", "192.0.2.7", 1.0), flow("worker2", "head", 40.0)]
    row = only(build([record], spans, flows, control="head"))
    assert row.known == ALL
    assert row.whole_ms == pytest.approx(504, abs=0.01)
    # 4 ms late, and of the 6 ms beyond the gateway the wire's 1.
    assert row.client_ms == pytest.approx(4 + 5, abs=0.01)
    assert row.network_ms == pytest.approx(1 + 2, abs=0.01)
    assert row.gateway_ms == pytest.approx(4, abs=0.01)
    # 490 behind the gateway, 478 in the engine, 2 on the wire: 10 of HTTP, and 8 around queue, prefill and decode.
    assert row.engine_ms == pytest.approx(10 + 8, abs=0.01)
    assert (row.queue_ms, row.prefill_ms, row.decode_ms) == pytest.approx((30, 60, 380), abs=0.01)
    assert row.unexplained_ms == pytest.approx(0, abs=0.01)
    assert sum(row.parts().values()) == pytest.approx(row.whole_ms, abs=0.01)
    assert tables.write(tmp_path, tables.LEDGER, [row.values()]) == 1
    (again,) = tables.read(tmp_path, tables.LEDGER)
    assert Row(**again) == row


def test_books_that_say_more_than_the_whole_are_found() -> None:
    """An engine's span of another request: 200 ms more than the gateway waited, 194 more than the client did."""
    rows = build([Asked()], [gateway_span(494, 100, 390), engine_span((30, 60, 600), 690)])
    assert only(rows).unexplained_ms == pytest.approx(-194, abs=0.01)
    assert sums(rows).ok is False
    assert "194.00 ms" in sums(rows).detail


def test_time_that_a_starved_gateway_left_out_is_the_engines_as_far_as_the_client_saw_it() -> None:
    row = only(build([Asked()], [gateway_span(300, 100, 196), engine_span((30, 60, 380), 478)]))
    assert (row.gateway_ms, row.client_ms) == pytest.approx((4, 18), abs=0.01)
    assert (row.prefill_ms, row.decode_ms, row.unexplained_ms) == pytest.approx((60, 380, 0), abs=0.01)


def test_the_clock_of_a_host_is_only_for_telling_whose_span_it_is() -> None:
    spans = [gateway_span(494, 100, 390), engine_span((30, 60, 380), 478, began=T0 + 3.01, ended=T0 + 3.49)]
    assert only(build([Asked()], spans)).known == GATEWAY_ONLY, "three seconds after its request: not this one's"
    row = only(build([Asked()], spans, offsets={"worker1": 3.0}))
    assert row.known == ALL and row.prefill_ms == pytest.approx(60, abs=0.01)


def test_of_two_tries_the_one_that_answered_counts() -> None:
    spans = [
        gateway_span(494, 100, 390),
        engine_span((1, 1, 1), 3, began=T0 + 0.005),
        engine_span((30, 60, 380), 478, began=T0 + 0.012),
    ]
    assert only(build([Asked()], spans)).decode_ms == pytest.approx(380, abs=0.01)


def test_what_nobody_told_is_not_made_up() -> None:
    row = only(build([Asked()], [gateway_span(494, 100, 390)]))
    assert (row.known, row.queue_ms, row.prefill_ms, row.decode_ms) == (GATEWAY_ONLY, None, None, None)
    assert row.engine_ms == pytest.approx(490, abs=0.01) and row.unexplained_ms == pytest.approx(0, abs=0.01)
    row = only(build([Asked(trace="")], [gateway_span(494, 100, 390, trace="")]))
    assert row.known == CLIENT_ONLY, "requests without a trace have no book in common"
    assert row.unexplained_ms == pytest.approx(500, abs=0.01)
    refused = Span("a" * 32, "1" * 16, "", gateway_log.NAME, "head", T0, T0, {"gateway.whole_ms": 1})
    assert only(build([Asked()], [refused])).known == CLIENT_ONLY, "no engine was asked"
    assert sums([row]).ok is None


def test_rows_of_a_warm_up_are_not_judged() -> None:
    rows = build([Asked(warm_up=True)], [gateway_span(494, 100, 390), engine_span((30, 60, 600), 690)])
    assert sums(rows).ok is None and named(rows) == []


Planted = Mapping[str, float]


def made(planted: Mapping[str, Planted], nodes: Sequence[str], requests: int, seed: int, trips: Planted) -> list[Row]:
    """Rows of requests over nodes: milliseconds around a middle, and what is planted on a node's part on top."""
    dice = random.Random(seed)  # noqa: S311 (no secret)
    records, spans, flows = [], [], [flow(node, "head", trips.get(node, 0.3)) for node in nodes]
    for number in range(requests):
        node, trace = nodes[number % len(nodes)], f"{number:032x}"
        more = planted.get(node, {})
        queue = dice.expovariate(1 / 3) + more.get("queue", 0)
        prefill, decode = dice.gauss(60, 4) + more.get("prefill", 0), dice.gauss(380, 6) + more.get("decode", 0)
        inside = queue + prefill + decode + 6 + more.get("engine", 0)
        first = queue + prefill + 4 + more.get("network", 0)
        whole = round(inside + trips.get(node, 0.3) + 3 + more.get("gateway", 0))
        gateway = round(2 + more.get("gateway", 0))
        spans.append(gateway_span(whole, round(first), whole - gateway - round(first), trace))
        spans.append(engine_span((queue, prefill, decode), inside, trace, node=node))
        records.append(
            Asked(number=number, node=node, trace=trace, ended=T0 + (whole + 1 + more.get("client", 0)) / 1000)
        )
    return build(records, spans, flows, control="head")


@pytest.mark.parametrize("part", ["queue", "prefill", "decode", "engine", "gateway"])
@pytest.mark.parametrize("nodes", [("worker1", "worker2"), ("worker1", "worker2", "worker3")])
def test_twenty_milliseconds_on_one_node_are_named(part: str, nodes: tuple[str, ...]) -> None:
    for seed in range(5):
        rows = made({"worker2": {part: 20.0}}, nodes, 120, seed, {})
        assert sums(rows).ok, sums(rows).detail
        first = named(rows)[0]
        assert (first.node, first.part) == ("worker2", part)
        assert first.excess_ms == pytest.approx(20, abs=6)


def test_twenty_milliseconds_of_wire_are_the_networks_and_nobody_elses() -> None:
    rows = made({}, ("worker1", "worker2", "worker3"), 120, 7, {"worker3": 20.3})
    (found,) = named(rows)
    assert (found.node, found.part) == ("worker3", "network")
    assert found.excess_ms == pytest.approx(20, abs=1)
    assert found.text == f"worker3: network takes {found.excess_ms:.1f} ms longer than on the other nodes"


def test_nodes_that_are_alike_are_not_named() -> None:
    assert [named(made({}, ("worker1", "worker2", "worker3"), 90, seed, {})) for seed in range(20)] == [[]] * 20


def test_a_node_that_had_more_of_a_heavy_step_is_not_named_for_it() -> None:
    light = made({}, ("worker1", "worker2"), 100, 1, {})
    heavy = [replace(row, step="long", decode_ms=(row.decode_ms or 0) + 900) for row in light]
    rows = light[:60] + [row for row in light[60:] if row.node == "worker1"]
    rows += heavy[:60] + [row for row in heavy[60:] if row.node == "worker2"]
    assert named(rows) == []
