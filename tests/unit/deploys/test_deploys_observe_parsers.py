"""What observers read: Prometheus' text, the kernel's files, sockets, logs. Each text says where it is from."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from deploys.observability.programs import log_lines, node_files, own_state, prometheus_text, socket_flows
from deploys.observability.programs.gpu_reader import amd, write
from deploys.observability.programs.node_processes import NodeProcesses
from deploys.observability.programs.prometheus_text import samples

# The examples of Prometheus' own page on its text format (exposition format 0.0.4).
PAGE = """\
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
http_request_duration_seconds_bucket{le="+Inf"} 144320
rpc_duration_seconds{quantile="0.01"} 3102
nothing_yet NaN
"""


def test_the_formats_own_examples() -> None:
    found = list(samples(PAGE))
    assert found[0] == ("http_requests_total", {"method": "post", "code": "200"}, 1027.0)
    assert found[2][1] == {"path": "C:\\DIR\\FILE.TXT", "error": 'Cannot find file:\n"FILE.TXT"'}
    assert found[3] == ("metric_without_timestamp_and_labels", {}, 12.47)
    assert found[4][2] == math.inf and math.isnan(found[7][2])
    assert [name for name, _, _ in samples(PAGE, lambda name: name.startswith("rpc_"))] == ["rpc_duration_seconds"]


@pytest.mark.parametrize(
    "line", ["", "half{", 'half{a="b} 1', "no_value", "name one", "a{b=c} 1", "9name 1", "x" * 9000]
)
def test_what_is_no_sample_is_passed_over(line: str) -> None:
    assert list(samples(f"{line}\nwhole 1\n")) == [("whole", {}, 1.0)]


@settings(max_examples=25, deadline=None)
@given(some.dictionaries(some.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), some.text(max_size=20), max_size=4))
def test_what_is_written_is_read_again(labels: dict[str, str]) -> None:
    labels = {key: "".join(value.splitlines()) for key, value in labels.items()}
    assert list(samples(prometheus_text.render([("name", labels, 0.25)]))) == [("name", labels, 0.25)]


@settings(max_examples=25, deadline=None)
@given(some.text(max_size=300))
def test_no_text_breaks_the_readers(text: str) -> None:
    list(samples(text))
    list(socket_flows.sockets(text))
    list(socket_flows.connections(text))
    log_lines.journal(text)
    log_lines.stamp(text, 1e9)
    for read in (node_files.stat, node_files.net_dev, node_files.diskstats, node_files.netstat, node_files.meminfo):
        list(read(text))
    list(node_files.pressure("cpu", text))


def test_this_machines_own_files_are_read() -> None:
    found = node_files.read_node()
    names = {name for name, _, _ in found}
    assert {"node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_boot_time_seconds"} <= names
    total = sum(value for name, labels, value in found if name == "node_memory_MemTotal_bytes")
    assert total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    idle = [labels for name, labels, _ in found if name == "node_cpu_seconds_total" and labels["mode"] == "steal"]
    assert len(idle) == os.sysconf("SC_NPROCESSORS_CONF")
    assert "lo" in {labels["device"] for name, labels, _ in found if name == "node_network_receive_bytes_total"}


def test_the_kernels_tables_by_column() -> None:
    """Lines as proc(5) describes them, with a different number in each column."""
    ticks = node_files.TICKS
    assert {
        labels["mode"]: value for _, labels, value in node_files.stat("cpu0 100 200 300 400 500 600 700 800 900 1000\n")
    } == {
        mode: (place + 1) * 100 / ticks
        for place, mode in enumerate(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"))
    }
    line = "  eth0: 11 12 13 14 15 16 17 18 21 22 23 24 25 26 27 28\n"
    assert [value for _, _, value in node_files.net_dev(line)] == [11, 12, 13, 14, 21, 22, 23, 24]
    line = "   8       0 sda 1 2 10 4000 5 6 20 8000 9 10000 11 12 13 14 15 16 17\n"
    assert [value for _, _, value in node_files.diskstats(line)] == [5120, 10240, 4, 8, 10]
    pressed = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
    assert list(node_files.pressure("io", pressed)) == [
        ("node_pressure_io_waiting_seconds_total", {}, 1.5),
        ("node_pressure_io_stalled_seconds_total", {}, 9e-6),
    ]
    tables = "Tcp: RtoAlgorithm RetransSegs InErrs OutRsts\nTcp: 1 22 0 7\nUdp: InDatagrams\nUdp: 5\n"
    assert list(node_files.netstat(tables)) == [
        ("node_netstat_Tcp_RetransSegs", {}, 22.0),
        ("node_netstat_Tcp_InErrs", {}, 0.0),
        ("node_netstat_Tcp_OutRsts", {}, 7.0),
    ]


def test_a_nodes_own_processes_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    marks = {"CLUSTER_NODE_NAME": "test-node", "CLUSTER_NAME": f"test-{os.getpid()}"}
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, **marks})
    try:
        looker = NodeProcesses("test-node", marks["CLUSTER_NAME"])
        deadline = time.monotonic() + 5
        while not (found := {name: value for name, _, value in looker.samples()}) and time.monotonic() < deadline:
            looker = NodeProcesses("test-node", marks["CLUSTER_NAME"])
        assert found["cluster_processes_count"] == 1 and found["cluster_processes_stopped"] == 0
        assert found["cluster_processes_resident_bytes"] > 0
        child.send_signal(19)  # STOP
        while not {n: v for n, _, v in looker.samples()}["cluster_processes_stopped"] and time.monotonic() < deadline:
            pass
        assert {name: value for name, _, value in looker.samples()}["cluster_processes_stopped"] == 1
    finally:
        child.kill()
        child.wait()


# Journal entries in the JSON that systemd's page on its export formats describes: strings, and bytes for no text.
JOURNAL = {
    "__REALTIME_TIMESTAMP": "1796048531123456",
    "_SYSTEMD_UNIT": "cluster-gateway.service",
    "MESSAGE": "\u001b[32mready\u001b[0m",
}


def test_a_journals_line() -> None:
    assert log_lines.journal(json.dumps(JOURNAL)) == (1796048531.123456, "cluster-gateway", "", "ready")
    raw = json.dumps({**JOURNAL, "MESSAGE": [104, 105, 255, 10]})
    assert log_lines.journal(raw) == (1796048531.123456, "cluster-gateway", "", "hi\ufffd")
    assert log_lines.journal('{"MESSAGE": "no time"}') is None


def test_times_of_files_lines() -> None:
    """As vLLM 0.32, Ray 2.60, Ray Serve and the gateway begin their lines."""
    written = time.mktime((2026, 11, 30, 14, 30, 0, 0, 0, -1))
    at = time.mktime((2026, 11, 30, 14, 22, 11, 0, 0, -1))
    assert log_lines.stamp("INFO 11-30 14:22:11 [core.py:102] Initializing", written) == at
    assert log_lines.stamp("(EngineCore pid=71) INFO 11-30 14:22:11 [core.py:102] x", written) == at
    assert log_lines.stamp("[2026-11-30 14:22:11,250 I 4021 4021] (raylet) main.cc:1", written) == at + 0.25
    assert log_lines.stamp("INFO 2026-11-30 14:22:11,500 llm 5f3 -- Started", written) == at + 0.5
    assert log_lines.stamp("1796048531123 POST /v1/chat/completions 200", written) == 1796048531.123
    assert log_lines.stamp("Traceback (most recent call last):", written) is None
    january = time.mktime((2027, 1, 2, 0, 0, 0, 0, 0, -1))
    assert log_lines.stamp("INFO 12-31 23:59:59 x", january) == time.mktime((2026, 12, 31, 23, 59, 59, 0, 0, -1))


def test_a_line_without_a_time_is_of_the_line_before() -> None:
    lines = ["no time yet", "INFO 2026-11-30 14:22:11 first", "  more of it", "1796048531123 last"]
    found = list(log_lines.of_file(lines, "unit", "r1", 5.0))
    at = log_lines.stamp(lines[1], 5.0)
    assert [line.at for line in found] == [at, at, at, 1796048531.123]
    assert [line.at for line in log_lines.of_file(["a", "b"], "unit", "", 5.0)] == [5.0, 5.0]


def test_the_watchs_state_becomes_samples() -> None:
    """In the shape of deploys/watch/programs/watch_state.py."""
    state = {
        "nodes": [
            {"name": "worker1", "alive": True, "state": "up"},
            {"name": "head", "alive": None, "state": "unknown"},
        ],
        "replicas": [
            {
                "node": "worker1",
                "replica": "r1",
                "port": 8100,
                "state": "serving",
                "kv_cache_usage": 0.25,
                "requests": {"running": 2, "waiting": 0, "finished": 7},
                "proofs": {"asked": 3, "failed": 1, "last": {"seconds": 0.5}},
            }
        ],
    }
    found = {(node, name, labels.get("state", "")): value for node, (name, labels, value) in own_state.watch(state)}
    assert found["worker1", "cluster_node_alive", ""] == 1 and ("head", "cluster_node_alive", "") not in found
    assert found["worker1", "cluster_replica_state", "serving"] == 1
    assert found["worker1", "cluster_replica_requests_running", ""] == 2
    assert found["worker1", "cluster_replica_proofs_failed_total", ""] == 1
    assert found["worker1", "cluster_replica_kv_cache_usage_ratio", ""] == 0.25
    nothings: list[Any] = [None, [], {"nodes": 5, "replicas": [3, {"requests": []}]}]
    for nothing in nothings:
        list(own_state.watch(nothing))
        list(own_state.ray_nodes(nothing, {}))
        list(own_state.ray_replicas(nothing, {}))


def test_amds_cards_are_read_where_the_driver_writes(tmp_path: Path) -> None:
    """Files as the kernel's manual of amdgpu's sysfs and hwmon describes them."""
    place = tmp_path / "sys/class/drm/card0/device"
    (place / "hwmon/hwmon3").mkdir(parents=True)
    values = {"vendor": "0x1002", "gpu_busy_percent": "42", "mem_info_vram_total": "8573157376"}
    values |= {"mem_info_vram_used": "1048576", "hwmon/hwmon3/power1_average": "15000000"}
    values |= {"hwmon/hwmon3/temp1_input": "48000", "hwmon/hwmon3/freq1_input": "2100000000"}
    for name, value in values.items():
        (place / name).write_text(f"{value}\n")
    other = tmp_path / "sys/class/drm/card1/device"
    other.mkdir(parents=True)
    (other / "vendor").write_text("0x10de\n")
    found = list(amd(tmp_path))
    numbers = {name: value for name, labels, value in found}
    assert all(labels["gpu"] == "0" for _, labels, _ in found)
    assert numbers["cluster_gpu_busy_ratio"] == 0.42 and numbers["cluster_gpu_power_watts"] == 15
    assert numbers["cluster_gpu_temperature_celsius"] == 48 and numbers["cluster_gpu_clock_hertz"] == 2.1e9
    assert numbers["cluster_gpu_lost"] == 0
    (place / "mem_info_vram_total").unlink()
    assert {name: value for name, _, value in amd(tmp_path)}["cluster_gpu_lost"] == 1
    file = tmp_path / "gpu.prom"
    write(file, found, time.monotonic())
    again = list(samples(file.read_text()))
    assert again[: len(found)] == found and again[-1][0] == "cluster_gpu_read_seconds"


# `ss -H -n -t -i -O state established` of iproute2 6.1 on Debian 12, a connection of this machine; the second line has
# the form that ss has without its filter of states, with addresses of IPv6 that hold one of IPv4.
SS = (
    "1830444 0      192.0.2.2:45892 203.0.113.80:443 bbr wscale:2,10 rto:204 rtt:0.84/0.169 ato:40 mss:1348 pmtu:1400 "
    "rcvmss:1348 advmss:1348 cwnd:62 bytes_sent:32411 bytes_retrans:148 bytes_acked:32264 bytes_received:237794078 "
    "segs_out:1117 segs_in:9571 bbr:(bw:76753936bps,mrtt:0.185,pacing_gain:2.88672) send 795961905bps lastsnd:68 "
    "pacing_rate 219351368bps delivery_rate 76754448bps delivered:146 app_limited busy:148ms retrans:0/1 dsack_dups:1 "
    "rcv_rtt:1 minrtt:0.185 snd_wnd:169156\n"
    "ESTAB 0 0 [::ffff:192.0.2.2]:8100 [::ffff:192.0.2.3]:43210 cubic rtt:2.5/1 bytes_sent:10 bytes_received:5 "
    "delivery_rate 8Mbps\n"
    "LISTEN 0 4096 0.0.0.0:22 0.0.0.0:*\n"
)
# Lines of /proc/net/nf_conntrack and of `conntrack -L`, as the kernel's nf_conntrack_standalone.c prints them.
TRACKED = (
    "ipv4     2 udp      17 29 src=192.0.2.2 dst=192.0.2.3 sport=4000 dport=53 packets=2 bytes=120 src=192.0.2.3 "
    "dst=192.0.2.2 sport=53 dport=4000 packets=2 bytes=300 mark=0 use=1\n"
    "tcp      6 431999 ESTABLISHED src=192.0.2.2 dst=192.0.2.3 sport=1 dport=2 src=192.0.2.3 dst=192.0.2.2 sport=2 "
    "dport=1 [ASSURED] mark=0 use=1\n"
)


def test_sockets_and_tracked_connections_become_flows() -> None:
    first, second = socket_flows.sockets(SS)
    assert (first.local, first.peer, first.peer_port, first.rtt_ms) == ("192.0.2.2", "203.0.113.80", 443, 0.84)
    assert (first.retransmits, first.bytes) == (1, 32411 + 237794078)
    assert first.delivery_bytes_per_second == 76754448 / 8
    assert (second.local, second.peer, second.delivery_bytes_per_second) == ("192.0.2.2", "192.0.2.3", 1e6)
    found = socket_flows.flows(
        socket_flows.sockets(SS), socket_flows.connections(TRACKED), "192.0.2.2", {"192.0.2.3": "worker1"}
    )
    assert [flow.row() for flow in found] == [
        ["203.0.113.80", "tcp", 0.84, 1, 76754448 / 8, 32411 + 237794078],
        ["worker1", "tcp", 2.5, 0, 1e6, 15],
        ["worker1", "udp", None, 0, None, 420],
    ]
    assert socket_flows.flows(socket_flows.sockets(SS), [], "192.0.2.9", {}) == [], "of other nodes of the machine"
