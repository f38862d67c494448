"""Every command line and rule of a fault as text, what is read back from listings, and what a plan may claim.

Listings of tc are of iproute2 6.1 (Debian 12) and name what its manual pages name; nft's are of nftables 1.0.6.
"""

from __future__ import annotations

import json
import struct

import pytest

from deploys.faults import catalogue, commands
from deploys.faults.catalogue import CATALOGUE, FaultPlanError
from deploys.faults.commands import Order
from deploys.faults.programs import (
    clock_fault,
    delay_line,
    fault_guard,
    gpu_fault,
    host_fault,
    network_rules,
    pressure_fault,
)
from deploys.faults.programs.host_tools import FaultError
from experiments.schedule import lab_faults
from tests.conftest import Composed

OTHERS = ["10.77.0.1", "10.77.0.12"]
TREE = """\
qdisc htb 1fa: root refcnt 2 r2q 10 default 0 direct_packets_stat 12 direct_qlen 1000
qdisc netem 1fb: parent 1fa:20 limit 100000 delay 100ms  20ms loss 5%
"""
CLASSES = "class htb 1fa:20 root leaf 1fb: prio 0 rate 20Mbit ceil 20Mbit burst 32Kb cburst 32Kb\n"


def test_every_kind_of_fault_has_somebody_who_does_it() -> None:
    done_by = {"host": set(fault_guard._KINDS), "lab": set(lab_faults.KINDS)}
    for means, names in done_by.items():
        assert {kind.name for kind in CATALOGUE.values() if kind.means == means} == names
    assert set(catalogue.LAYERS) == {kind.layer for kind in CATALOGUE.values()}


def test_loss_spares_the_operator_and_drops_a_part_of_what_arrives() -> None:
    text = network_rules.drop_rules("network-loss", OTHERS, [22, 2222], 2.5)
    assert text.splitlines()[1] == "delete table inet cluster_fault_network_loss"
    assert "elements = { 10.77.0.1, 10.77.0.12 }" in text
    assert "ip saddr @others numgen random mod 100000 < 2500 drop" in text
    assert text.index("tcp dport { 22, 2222 } accept") < text.index("drop")
    assert "hook output" not in text


def test_a_partition_drops_both_ways_and_still_lets_the_operator_in() -> None:
    text = network_rules.drop_rules("network-partition", OTHERS, [22], 100)
    arriving, leaving = text.split("chain leaving")
    assert "ip saddr @others drop" in arriving and "numgen" not in text
    assert "ip daddr @others drop" in leaving
    assert all("tcp dport { 22 } accept" in part and "tcp sport { 22 } accept" in part for part in (arriving, leaving))


def test_the_queue_lets_packets_pass_when_nobody_listens() -> None:
    lines = network_rules.delay_rules(OTHERS, [22], 64250).splitlines()
    assert lines[:2] == ["*mangle", ":CLUSTER-FAULT-DELAY - [0:0]"] and lines[-1] == "COMMIT"
    assert "-A CLUSTER-FAULT-DELAY -p tcp -m tcp --sport 22 -j RETURN" in lines
    assert "-A CLUSTER-FAULT-DELAY -s 10.77.0.12/32 -j NFQUEUE --queue-num 64250 --queue-bypass" in lines
    assert lines[-2] == "-I INPUT -j CLUSTER-FAULT-DELAY"


def test_one_discipline_does_delay_loss_and_rate_together() -> None:
    asked = {"delay_milliseconds": 100.0, "jitter_milliseconds": 20.0, "percent": 5, "megabits_per_second": 20.0}
    netem = network_rules.netem_words(asked)
    assert netem == ["delay", "100ms", "20ms", "loss", "5%"]
    lines = network_rules.shaping("eth0", OTHERS, [22], netem, asked)
    assert lines[0] == "qdisc add dev eth0 root handle 1fa: htb default 0"
    assert "rate 20mbit" in lines[1] and lines[2].endswith("netem limit 100000 delay 100ms 20ms loss 5%")
    spared = [line for line in lines if line.endswith("flowid 1fa:0")]
    assert ["sport 22" in spared[0], "dport 22" in spared[1], len(spared)] == [True, True, 2]
    assert lines[-1].endswith("prio 2 u32 match ip dst 10.77.0.12/32 flowid 1fa:20")


def test_what_tc_shows_is_told_by_fault() -> None:
    names = {"network-delay", "network-jitter", "network-loss"}
    assert network_rules.shaped(TREE, CLASSES) == {*names, "network-rate"}
    assert network_rules.shaped(TREE, CLASSES.replace("20Mbit", "100Gbit")) == names
    assert network_rules.shaped("qdisc noqueue 0: root refcnt 2\n", "") == set()
    assert network_rules.tables_of("inet cluster\ninet cluster_fault_network_loss\n") == ["cluster_fault_network_loss"]


def test_a_table_without_rules_is_told_from_one_with_them() -> None:
    empty = "table ip mangle {\n\tchain POSTROUTING {\n\t\ttype filter hook postrouting priority mangle;\n\t}\n}\n"
    assert network_rules.has_no_rules(empty)
    assert not network_rules.has_no_rules(empty.replace("\t}\n}", "\t\tcounter accept\n\t}\n}"))


def test_stress_ng_and_our_own_program_get_the_same_bounds() -> None:
    sizes = {"processes": 2, "percent": 50.0, "bytes": 1 << 20, "directory": "/var/tmp"}
    assert pressure_fault.with_stress_ng("cpu-pressure", sizes, 9.6) == (
        ["stress-ng", "--cpu", "2", "--cpu-load", "50", "--timeout", "10s", "--quiet"]
    )
    assert "--oomable" in pressure_fault.with_stress_ng("memory-pressure", sizes, 5)
    assert {"--temp-path", "/var/tmp", "--hdd-bytes"} <= set(pressure_fault.with_stress_ng("disk-pressure", sizes, 5))
    ours = pressure_fault.with_ours("disk-pressure", sizes, 5, "/guard.py")[1:]
    assert ours == ["/guard.py", "-", "pressure", "disk", "/var/tmp", "1048576", "5"]


def test_pressure_takes_no_more_than_the_host_bears() -> None:
    here = {"processors": 8, "available_bytes": 3 << 30, "free_bytes": 1 << 30}
    cpu = {"processes": 0, "load_percent": 100.0}
    assert pressure_fault.bounded("cpu-pressure", cpu, here, shared=False)["processes"] == 8
    assert pressure_fault.bounded("cpu-pressure", cpu, here, shared=True)["processes"] == 4
    asked = {"bytes": 8 << 30, "keep_free_bytes": 1 << 30}
    assert pressure_fault.bounded("memory-pressure", asked, here, shared=False) == {"bytes": 2 << 30}
    with pytest.raises(FaultError, match="disk-pressure: 1073741824 bytes of disk are free here"):
        pressure_fault.bounded("disk-pressure", asked, here, shared=False)


def test_the_delay_line_speaks_the_kernels_protocol() -> None:
    """Layouts from linux/netfilter/nfnetlink_queue.h and linux/netlink.h."""
    bind, copy, limits = delay_line.configuration(7)
    assert struct.unpack_from("=IHH", bind) == (len(bind), 3 << 8 | 2, 5)
    assert struct.unpack_from(">H", bind, 18) == (7,) and bind[24] == 1, "queue 7 is bound"
    assert struct.unpack_from(">IB", copy, 24) == (0, 1), "numbers, none of the bytes"
    assert len(limits) % 4 == 0
    header = delay_line.attribute(1, struct.pack(">IHB", 4711, 0x0800, 4))
    packet = delay_line.message(3 << 8, 7, delay_line.attribute(10, b"abc") + header)
    assert delay_line.packets(packet + packet) == [4711, 4711]
    assert delay_line.packets(delay_line.message(2, 0, b"")[:20] + bytes(16)) == [], "an acknowledgement"
    refused = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -1) + bytes(16)
    with pytest.raises(OSError, match="refuses"):
        delay_line.packets(refused)
    assert struct.unpack_from(">II", delay_line.verdict(7, 4711), 24) == (1, 4711)


def test_no_packet_overtakes_another() -> None:
    assert delay_line.due(10.0, 0.0, 50, 20, 0.0) == pytest.approx(10.05)
    assert delay_line.due(10.0, 0.0, 50, 20, -1.0) == pytest.approx(10.03)
    assert delay_line.due(10.0, 10.2, 50, 20, 1.0) == 10.2
    assert delay_line.due(10.0, 0.0, 5, 20, -1.0) == 10.0


def test_gpu_faults_are_lines_of_a_table_and_go_without_a_trace() -> None:
    before = "0 power_limit_milliwatts 300000\n"
    lines = gpu_fault.lines("gpu-power-cap", {"device": 0, "watts": 150.0})
    assert lines == ["0 power_limit_milliwatts 150000 #cluster-fault:gpu-power-cap"]
    lost = gpu_fault.lines("gpu-lost", {"device": 1})
    table = before + "\n".join([*lines, *lost]) + "\n"
    assert gpu_fault.without(gpu_fault.without(table, "gpu-power-cap"), "gpu-lost") == before


def test_a_service_gets_another_time_of_day_and_keeps_its_waits() -> None:
    text = clock_fault.drop_in("/usr/lib/x/libfaketime.so.1", -30)
    assert "LD_PRELOAD=/usr/lib/x/libfaketime.so.1 FAKETIME=-30s FAKETIME_DONT_FAKE_MONOTONIC=1" in text
    assert clock_fault.may_set_time("Name:\tx\nCapEff:\t000001ffffffffff\n")
    assert not clock_fault.may_set_time("CapEff:\t00000000fdecafff\n"), "a container's"


def test_the_root_of_cgroup2_is_found_in_a_mount_table() -> None:
    table = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup x rw\n32 24 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert host_fault.group_root(table) == "/sys/fs/cgroup"
    assert host_fault.group_root("31 24 0:27 / /sys rw - sysfs sysfs rw\n") == ""


def test_parameters_are_completed_and_bounded() -> None:
    delay = CATALOGUE["network-delay"]
    assert catalogue.parameters_of(delay, {"delay_milliseconds": 5}) == {
        "delay_milliseconds": 5,
        "jitter_milliseconds": 0.0,
        "peers": [],
    }
    for given, said in (
        ({"delay_millisecond": 5}, "did you mean 'delay_milliseconds'"),
        ({"delay_milliseconds": "5"}, "give a number"),
        ({"delay_milliseconds": float("nan")}, "give a number"),
        ({"delay_milliseconds": -5}, "give at least 0.1 at most 10000"),
        ({"peers": "compute1"}, "give a list of names"),
    ):
        with pytest.raises(FaultPlanError, match=said):
            catalogue.parameters_of(delay, given)
    with pytest.raises(FaultPlanError, match="process is missing"):
        catalogue.parameters_of(CATALOGUE["process-kill"], {})
    with pytest.raises(FaultPlanError, match="give a whole number"):
        catalogue.parameters_of(CATALOGUE["gpu-xid"], {"xid": 79.5})


def test_a_claim_about_another_layer_is_refused() -> None:
    catalogue.check_claims(CATALOGUE["network-delay"], ["network"])
    catalogue.check_claims(CATALOGUE["gpu-xid"], ["gpu-reporting"])
    for name, claim, said in (
        ("network-delay", "rdma", "RDMA goes past the kernel"),
        ("network-delay", "gpu", "gpu-contention, gpu-memory-pressure test it"),
        ("gpu-lost", "gpu", "done to a stand-in"),
        ("gpu-contention", "gpu-hardware", "no setting of a real card is changed"),
        ("process-kill", "host", "host-crash"),
    ):
        with pytest.raises(FaultPlanError, match=f"{name} proves nothing of '{claim}'.*{said}"):
            catalogue.check_claims(CATALOGUE[name], [claim])


def test_an_unknown_fault_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(FaultPlanError, match="did you mean 'network-delay'"):
        catalogue.kind_of("network-dely")
    with pytest.raises(FaultPlanError, match="cannot be on one host at a time"):
        catalogue.check_together(["cpu-pressure", "network-jitter", "network-delay"])


def test_a_host_is_sent_the_whole_program_and_what_it_has_to_know(composed: Composed) -> None:
    settings = composed()["compute0"]
    command = commands.inject(settings, Order("network-loss", 30, {"percent": 2.0, "peers": []}), "me")
    assert command.line.startswith("umask 077; mkdir -p /run/cluster-faults && cat > /run/cluster-faults/guard.$$")
    order = json.loads(command.line.partition(" inject ")[2].strip("'"))
    assert order["context"]["operator_ports"] == [22] and order["context"]["controller"] == "me"
    assert set(order["context"]["peers"]) == {"control", "compute0", "compute1"}
    compile(command.stdin, "guard", "exec")
    laptop = composed(managed=False)["compute0"]
    assert commands.directory(laptop) == f"{laptop.directories.state}/faults"
