"""From what hosts say to the bundle's tables: a cluster on loopback whose engine is a page of metrics."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploys.gateway.declared import GATEWAY
from deploys.observability.declared import spans_file
from deploys.services.supervisor import Supervisor
from experiments.errors import ExperimentError
from experiments.load.client import clock
from experiments.telemetry import collect, collecting, gateway_log, live, tables
from experiments.telemetry.grafana import dashboard
from experiments.telemetry.observers import PLACE
from hardware.laptop import laptop
from operate.clusters import ClusterInventory, Host
from tests.conftest import Composed

ADDRESSES = {"head": "127.0.0.95", "worker1": "127.0.0.96"}
REPLICA = "p8l3k2"
METRICS = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running_created{engine="0"} 1.7e9
python_gc_objects_collected_total{generation="0"} 5
"""
LINE = (
    "1796048531123 POST /v1/chat/completions 200 812 bytes, first byte after 31 ms, whole 95 ms, "
    "received 1 queued 0 connected 2 sent 61 ms, trace 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331, "
    "worker1-8110, ended --, retried 1"
)


def test_a_line_of_the_gateways_log_is_its_span() -> None:
    found = gateway_log.parse_line(LINE)
    assert found is not None
    assert (found.received, found.queued, found.connected, found.first_byte, found.sent, found.whole) == (
        1,
        0,
        2,
        31,
        61,
        95,
    )
    span = found.span("head")
    assert (span.trace, span.parent) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (span.began, span.ended) == pytest.approx((1796048531.122, 1796048531.217))
    assert span.attributes["gateway.node"] == "worker1" and span.attributes["gateway.retries"] == 1


def test_a_request_that_came_to_no_engine_has_no_timers_of_one() -> None:
    line = (
        LINE.replace("after 31 ms", "after -1 ms").replace("connected 2", "connected -1").replace("sent 61", "sent -1")
    )
    found = gateway_log.parse_line(line.replace("worker1-8110", "<NOSRV>").replace(" b7ad6b7169203331", " -"))
    assert found is not None
    assert (found.first_byte, found.connected, found.sent, found.node, found.parent) == (None, None, None, "", "")
    assert gateway_log.parse_line("[NOTICE]   (1) : New worker (7) forked") is None


@pytest.fixture
def engine() -> Iterator[int]:
    """A page of metrics where worker1's engine listens; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = METRICS.encode() if self.path == "/metrics" else b"{}"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-cluster-replica", REPLICA)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer((ADDRESSES["worker1"], 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(composed: Composed, engine: int, monkeypatch: pytest.MonkeyPatch) -> ClusterInventory:
    """Two nodes of this machine, of which nothing runs but the page of metrics."""
    from inventories.composition import layout

    ports = {**layout.RAY_PORTS, "engine_first": engine - 10, "engine_last": engine - 10}
    monkeypatch.setattr(layout, "RAY_PORTS", ports)
    found = composed(laptop(1), managed=False, addresses=ADDRESSES, site={"telemetry": "traces"})
    hosts = tuple(Host(f"@loopback/{name}", {}, here) for name, here in found.items())
    return ClusterInventory("laptop", Path("laptop.py"), hosts)


def test_what_hosts_show_becomes_tables(cluster: ClusterInventory, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    control = cluster.control.settings
    log = Path(Supervisor(control.node, control.directories.state).log(GATEWAY))
    log.parent.mkdir(parents=True)
    spans = Path(spans_file(control))
    spans.parent.mkdir(parents=True)

    async def run() -> Any:
        began = clock()
        async with live(cluster, bundle, period_seconds=0.3, limit_seconds=60) as seen:
            at = round(time.time() * 1000)
            log.write_text(f"[NOTICE] HAProxy begins\n{LINE.replace('1796048531123', str(at))}\n")
            span = {"trace": "a" * 32, "span": "b" * 16, "parent": "", "name": "llm_request", "began": at / 1000}
            span |= {"ended": at / 1000, "attributes": {"x": 1}, "resource": {"cluster.node": "worker1"}}
            spans.write_text(f"{json.dumps(span)}\nhalf of a li")
            # Twice seen: each node's first look, and at least one more.
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline and not all(
                file.read_text().count("cluster_look_seconds") > 1 for file in (bundle / PLACE).glob("*.jsonl")
            ):
                await asyncio.sleep(0.05)
        return seen, await collect(cluster, bundle, began, clock() - collecting.AFTER_SECONDS)

    seen, found = asyncio.run(run())
    assert {one.node for one in seen.clocks} == set(ADDRESSES)
    assert all(abs(one.offset_seconds) <= one.error_seconds + 0.005 < 0.5 for one in seen.clocks), seen.clocks
    rows = tables.read(bundle, tables.METRICS)
    running = [row for row in rows if row["name"] == "vllm:num_requests_running"]
    assert {(row["node"], row["value"]) for row in running} == {("worker1", 2.0)}
    assert json.loads(running[0]["labels"])["replica"] == REPLICA
    assert not [row for row in rows if row["name"].endswith("_created") or row["name"].startswith("python_")]
    assert {row["node"] for row in rows if row["name"] == "node_load1"} == {"head"}, "one machine, told once"
    assert {row["node"] for row in rows if row["name"] == "cluster_look_seconds"} == set(ADDRESSES)
    (line,) = [row for row in tables.read(bundle, tables.LOGS) if "/v1/chat/completions" in row["message"]]
    assert (line["node"], line["unit"]) == ("head", GATEWAY)
    gateway, engine = sorted(tables.read(bundle, tables.SPANS), key=lambda row: str(row["name"]))
    assert (gateway["name"], engine["name"], engine["node"]) == ("gateway", "llm_request", "worker1")
    assert [span.attributes["x"] for span in collecting.spans_of([engine])] == [1]
    assert found.rows[tables.METRICS] == len(rows)
    assert any("1 lines are no spans" in note for note in found.notes)
    assert any("cluster/state" in note for note in found.notes), "the watch does not run, and that is said"
    assert (bundle / "grafana-configs" / "cluster.json").exists()


def test_lines_of_a_run_that_died_are_read_to_where_they_end(tmp_path: Path) -> None:
    file = tmp_path / "worker1.jsonl"
    whole = {
        "at": 1000.5,
        "node": "worker1",
        "metrics": [["a", {"b": "c"}, 1.0]],
        "flows": [["head", "tcp", 0.1, 0, 5.0, 9]],
    }
    file.write_text(f'{json.dumps(whole)}\n{{"at": 1, "note": "no conntrack"}}\n{{"at": 1001, "node": "wor')
    flows: list[tuple[Any, ...]] = []
    notes: list[str] = []
    rows = list(collecting.metric_rows([file], {"worker1": 0.5}, flows, notes))
    assert rows == [(1000.0, "worker1", "a", '{"b": "c"}', 1.0)]
    assert flows == [(1000.0, "worker1", "head", "tcp", 0.1, 0, 5.0, 9)]
    assert notes == ["worker1: no conntrack", "worker1.jsonl: 1 lines are cut off or no JSON"]


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    row = (1.0, "n", "name", "{}", 2.0)

    def breaks() -> Iterator[tuple[Any, ...]]:
        yield row
        raise OSError(28, "No space left on device")

    with pytest.raises(ExperimentError, match=r"metrics\.parquet: No space left on device; make room"):
        tables.write(tmp_path, tables.METRICS, breaks())
    with pytest.raises(ExperimentError, match="none of this table"):
        tables.write(tmp_path, tables.METRICS, [("at", *row[1:])])
    assert not list((tmp_path / "metrics").iterdir())
    assert tables.read(tmp_path, tables.METRICS) == []
    assert tables.write(tmp_path, tables.METRICS, [row]) == 1
    assert tables.read(tmp_path, tables.METRICS) == [dict(zip(tables.COLUMNS[tables.METRICS], row, strict=True))]
    assert tables.write(tmp_path, tables.FLOWS, []) == 0 and tables.read(tmp_path, tables.FLOWS) == []
    (tmp_path / tables.FLOWS).write_bytes(b"PAR1 and no more")
    with pytest.raises(ExperimentError, match="cut off or changed"):
        tables.read(tmp_path, tables.FLOWS)


def test_the_dashboard_asks_for_what_is_there() -> None:
    made = dashboard("lab")
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]}
    assert len(places) == len(made["panels"]), "none lies on another"
    for panel in made["panels"]:
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
