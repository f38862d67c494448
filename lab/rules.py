"""The packet rules between the lab and the outside, and what they are made from. Pure: text in, text out.

The hosts may fetch packages (tcp 80 and 443) and ask the machine's name servers; they reach nothing else,
this machine included. This machine reaches them on every port.
"""

from __future__ import annotations

import ipaddress
import json

from lab.plan import HOST_NETWORK, LAB_NETWORK

TABLE = "cluster_lab"
MACHINE_INTERFACE = "lab0"
UPLINK_NETWORK = "10.77.255.0/30"
MACHINE_ADDRESS = "10.77.255.1"
SWITCH_ADDRESS = "10.77.255.2"


def nat_rules(outside_interface: str | None, name_servers: tuple[str, ...]) -> str:
    """The nft script of the lab's table; it replaces an earlier one in one transaction.

    outside_interface is the one with the default route; None (no way out) leaves name servers on this
    machine's own networks.
    """
    dns = ", ".join(name_servers)
    dns_rules = [
        f"iifname {MACHINE_INTERFACE} ip daddr {{ {dns} }} {protocol} dport 53 accept" for protocol in ("udp", "tcp")
    ]
    if not name_servers:
        dns_rules = []
    forward = [
        f"oifname {MACHINE_INTERFACE} ct state established,related accept",
        *dns_rules,
        f"iifname {MACHINE_INTERFACE} ct state established,related accept",
    ]
    if outside_interface is not None:
        forward.append(f'iifname {MACHINE_INTERFACE} oifname "{outside_interface}" tcp dport {{ 80, 443 }} accept')
    forward += [f"iifname {MACHINE_INTERFACE} reject", f"oifname {MACHINE_INTERFACE} drop"]
    to_machine = [
        f"iifname {MACHINE_INTERFACE} ct state established,related accept",
        f"iifname {MACHINE_INTERFACE} icmp type echo-request accept",
        *dns_rules,
        f"iifname {MACHINE_INTERFACE} reject",
    ]
    # Not bound to one interface: a name server may be behind another one than the default route's.
    masquerade = [f"oifname != {MACHINE_INTERFACE} ip saddr {{ {HOST_NETWORK}, {UPLINK_NETWORK} }} masquerade"]
    chains = (
        ("forward", "type filter hook forward priority 0; policy accept;", forward),
        ("to_machine", "type filter hook input priority 0; policy accept;", to_machine),
        ("way_out", "type nat hook postrouting priority 100;", masquerade),
    )
    # The first line makes the second one valid when there is no such table yet.
    lines = [f"table ip {TABLE} {{ }}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    for name, hook, rules in chains:
        lines += [f"  chain {name} {{", f"    {hook}", *(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}"]) + "\n"


def default_route_interface(routes_json: str) -> str | None:
    """The interface of the best default route in `ip -json route show default`; None without one."""
    routes = _routes(routes_json)
    usable = [route for route in routes if route.get("dst") == "default" and isinstance(route.get("dev"), str)]
    usable.sort(key=_metric)
    return str(usable[0]["dev"]) if usable else None


def foreign_routes(routes_json: str, network: str = LAB_NETWORK) -> tuple[str, ...]:
    """Routes of `ip -json route show` that overlap network, lab0 aside: `DESTINATION dev INTERFACE` each."""
    ours = ipaddress.IPv4Network(network)
    found = []
    for route in _routes(routes_json):
        destination, device = str(route.get("dst")), str(route.get("dev"))
        if destination == "default" or device == MACHINE_INTERFACE:
            continue
        try:
            other = ipaddress.IPv4Network(destination, strict=False)
        except ValueError:
            continue
        if other.overlaps(ours):
            found.append(f"{destination} dev {device}")
    return tuple(found)


def name_servers(resolver_text: str) -> tuple[str, ...]:
    """IPv4 name servers in a resolv.conf that a host can reach; those on loopback serve this machine only."""
    found: list[str] = []
    for line in resolver_text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.IPv4Address(words[1])
        except ValueError:
            continue
        if not address.is_loopback and str(address) not in found:
            found.append(str(address))
    return tuple(found)


def _routes(routes_json: str) -> list[dict[str, object]]:
    value = json.loads(routes_json or "[]")
    return [route for route in value if isinstance(route, dict)] if isinstance(value, list) else []


def _metric(route: dict[str, object]) -> int:
    metric = route.get("metric", 0)
    return metric if isinstance(metric, int) else 0
