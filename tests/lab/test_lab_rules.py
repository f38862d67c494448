"""Packet rules and the parsers behind them.

Route and resolver texts are in the form of iproute2 6.1 and resolv.conf(5).
"""

from __future__ import annotations

import json

from lab.processes import cgroup2_mount, start_time_ticks
from lab.rules import default_route_interface, foreign_routes, name_servers, nat_rules


def chain(rules: str, name: str) -> list[str]:
    """The lines of one chain, trimmed."""
    body = rules.split(f"chain {name} {{")[1].split("}\n  chain")[0]
    return [line.strip() for line in body.splitlines() if line.strip() not in ("", "}")]


def test_only_web_and_name_servers_are_let_out() -> None:
    forward = chain(nat_rules("wan7", ("192.0.2.53",)), "forward")
    from_lab = [rule for rule in forward if rule.startswith("iifname lab0")]
    assert from_lab == [
        "iifname lab0 ip daddr { 192.0.2.53 } udp dport 53 accept",
        "iifname lab0 ip daddr { 192.0.2.53 } tcp dport 53 accept",
        "iifname lab0 ct state established,related accept",
        'iifname lab0 oifname "wan7" tcp dport { 80, 443 } accept',
        "iifname lab0 reject",
    ]
    assert forward[-1] == "oifname lab0 drop"


def test_this_machine_is_closed_to_the_hosts() -> None:
    to_machine = chain(nat_rules("wan7", ()), "to_machine")
    assert to_machine[-1] == "iifname lab0 reject"
    assert not any("dport" in rule for rule in to_machine)


def test_without_a_way_out_nothing_but_names_is_let_out() -> None:
    rules = nat_rules(None, ("192.0.2.53", "192.0.2.54"))
    assert "443" not in rules
    assert "{ 192.0.2.53, 192.0.2.54 } udp dport 53" in rules


def test_the_rules_replace_an_earlier_table() -> None:
    assert nat_rules(None, ()).splitlines()[:2] == ["table ip cluster_lab { }", "delete table ip cluster_lab"]


def test_the_default_route_with_the_least_metric_is_the_way_out() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "wlan0", "metric": 600},
        {"dst": "default", "gateway": "192.0.2.1", "dev": "lan0", "metric": 100},
    ]
    assert default_route_interface(json.dumps(routes)) == "lan0"
    assert default_route_interface("[]") is None
    assert default_route_interface("") is None


def test_routes_of_others_in_the_labs_network_are_found() -> None:
    routes = [
        {"dst": "default", "dev": "lan0"},
        {"dst": "10.77.0.0/24", "gateway": "10.77.255.2", "dev": "lab0"},
        {"dst": "10.77.255.0/30", "dev": "lab0"},
        {"dst": "192.0.2.0/24", "dev": "lan0"},
    ]
    assert foreign_routes(json.dumps(routes)) == ()
    routes += [{"dst": "10.0.0.0/8", "dev": "vpn0"}, {"dst": "10.77.3.4", "dev": "other"}]
    assert foreign_routes(json.dumps(routes)) == ("10.0.0.0/8 dev vpn0", "10.77.3.4 dev other")


def test_name_servers_on_loopback_and_other_families_are_left_out() -> None:
    text = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver 192.0.2.53\nnameserver fd00::1\n"
    assert name_servers(text + "search example\nnameserver\n") == ("192.0.2.53",)


def test_the_cgroup2_mount_is_found_beside_version_1() -> None:
    table = (
        "30 28 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "31 28 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
    )
    assert str(cgroup2_mount(table)) == "/sys/fs/cgroup/unified"
    assert cgroup2_mount(table.splitlines()[0]) is None


def test_start_times_survive_odd_command_names_and_ended_processes_have_none() -> None:
    fields = "1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"
    assert start_time_ticks(f"42 (a ) b (c) S {fields}") == 4711
    assert start_time_ticks(f"42 (gone) Z {fields}") is None
    assert start_time_ticks("") is None
