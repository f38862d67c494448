"""Interfaces, names and ports: synthesised output (fixtures/synthesised/README.md says what it follows)."""

from __future__ import annotations

from typing import Any

import pytest

from facts.parse.listening import parse_listening
from facts.parse.network import THUNDERBOLT_DRIVER, parse_interfaces, parse_resolution

S = "synthesised/"


def test_interfaces_with_speed_and_driver(fixture_text: Any, rendered: Any) -> None:
    ip, net = fixture_text(S + "ip-address-two-links.json"), fixture_text(S + "net-two-links.txt")
    report = parse_interfaces(rendered(("ip", ip), ("net", net)))
    assert report.tool == "present"
    loopback, ethernet, usb4 = report.interfaces
    assert (loopback.name, loopback.driver, loopback.speed_bits_per_second) == ("lo", "", None)
    assert (ethernet.mac_address, ethernet.mtu_bytes, ethernet.state) == ("02:00:00:00:00:11", 1500, "UP")
    assert (ethernet.driver, ethernet.speed_bits_per_second) == ("r8169", 2_500_000_000)
    assert [(item.address, item.prefix_length, item.scope) for item in ethernet.addresses] == [
        ("10.0.0.11", 24, "global"),
        ("fe80::11", 64, "link"),
    ]
    assert (usb4.driver, usb4.speed_bits_per_second) == (THUNDERBOLT_DRIVER, None)


def test_interfaces_without_ip_come_from_sysfs(fixture_text: Any, rendered: Any) -> None:
    report = parse_interfaces(rendered(("ip", "", "missing"), ("net", fixture_text(S + "net-two-links.txt"))))
    assert (report.tool, report.detail) == ("missing", "ip is not installed")
    assert [(item.name, item.state, item.addresses) for item in report.interfaces] == [
        ("enp5s0", "UP", ()),
        ("thunderbolt0", "UNKNOWN", ()),
    ]


@pytest.mark.parametrize(
    ("ip", "tool", "said"),
    [
        ("", "failed", "no JSON"),
        ('[{"ifname": "eth0"', "failed", "no JSON"),
        ("{}", "failed", "a list was expected"),
        ("[3]", "present", "is no interface"),
        ('[{"ifname": "eth0"}]', "present", "eth0: mtu is None"),
        ('[{"ifname": "eth0", "mtu": 1500, "addr_info": [{"local": "10.0.0.1"}]}]', "present", "is no address"),
        ("[]", "present", "ip does not list enp5s0, thunderbolt0"),
    ],
)
def test_what_ip_does_not_say_the_kernel_does(fixture_text: Any, rendered: Any, ip: str, tool: str, said: str) -> None:
    report = parse_interfaces(rendered(("ip", ip), ("net", fixture_text(S + "net-two-links.txt"))))
    assert report.tool == tool
    assert {"enp5s0", "thunderbolt0"} <= {interface.name for interface in report.interfaces}
    assert said in " ".join([report.detail, *report.unread])


def test_resolution(rendered: Any) -> None:
    text = "10.0.0.11       STREAM compute1\n10.0.0.11       DGRAM\n10.0.0.11       RAW\n"
    report = parse_resolution(rendered(("name", "compute1"), ("getent", text)))
    assert (report.host_name, report.addresses, report.resolves_to_loopback) == (
        "compute1",
        ("10.0.0.11",),
        False,
    )


@pytest.mark.parametrize("address", ["127.0.1.1", "127.0.0.1", "::1"])
def test_resolution_to_loopback(rendered: Any, address: str) -> None:
    report = parse_resolution(rendered(("name", "compute1"), ("getent", f"{address} STREAM compute1")))
    assert report.resolves_to_loopback


def test_name_that_does_not_resolve_is_no_error(rendered: Any) -> None:
    report = parse_resolution(rendered(("name", "nowhere"), ("getent", "", 2)))
    assert (report.addresses, report.detail) == ((), "nowhere does not resolve")
    slow = parse_resolution(rendered(("name", "nowhere"), ("getent", "", 124)))
    assert slow.detail == "getent did not answer in time"


def test_a_line_that_is_no_address_is_left_out_and_told(rendered: Any) -> None:
    report = parse_resolution(rendered(("name", "compute1"), ("getent", "garbage here\n10.0.0.11 STREAM compute1")))
    assert report.addresses == ("10.0.0.11",)
    assert "does not begin with an address" in report.detail


def listening(fixture_text: Any, rendered: Any, *, ss: bool) -> Any:
    return parse_listening(
        rendered(
            ("tcp", fixture_text(S + "proc-net-tcp.txt")),
            ("tcp6", fixture_text(S + "proc-net-tcp6.txt")),
            ("ss", fixture_text(S + "ss-ltnp.txt") if ss else "", 0 if ss else "missing"),
        )
    )


def test_listening_ports_with_processes(fixture_text: Any, rendered: Any) -> None:
    report = listening(fixture_text, rendered, ss=True)
    assert [(item.address, item.port, item.process, item.process_id) for item in report.sockets] == [
        ("0.0.0.0", 22, "", None),  # noqa: S104 - only compared
        ("::1", 631, "", None),
        ("127.0.0.1", 3000, "", None),
        ("10.0.0.11", 6379, "gcs_server", 700),
        ("127.0.0.1", 8000, "python3", 812),
        ("::", 9090, "prometheus", 655),
    ]
    assert [item.port for item in report.sockets if item.beyond_loopback] == [22, 6379, 9090]


def test_listening_ports_without_ss(fixture_text: Any, rendered: Any) -> None:
    report = listening(fixture_text, rendered, ss=False)
    assert (len(report.sockets), report.processes_known) == (6, False)


def test_a_line_of_the_socket_table_that_is_none_leaves_the_rest(fixture_text: Any, rendered: Any) -> None:
    table = f"  0: nonsense\n{fixture_text(S + 'proc-net-tcp.txt')}"
    report = parse_listening(rendered(("tcp", table), ("tcp6", "", 1), ("ss", "", "missing")))
    assert 22 in [item.port for item in report.sockets]
    assert "no address:port" in report.unread[0]


def test_ports_without_the_socket_table_are_those_of_ss(fixture_text: Any, rendered: Any) -> None:
    report = parse_listening(rendered(("tcp", "", 1), ("tcp6", "", 1), ("ss", fixture_text(S + "ss-ltnp.txt"))))
    assert 6379 in [item.port for item in report.sockets]
    with pytest.raises(ValueError, match="/proc/net/tcp: tcp exited 1"):
        parse_listening(rendered(("tcp", "", 1), ("tcp6", "", 1), ("ss", "", "missing")))
