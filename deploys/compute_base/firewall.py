"""The firewall of a managed host: its rules, what they leave open for whoever manages it, and what loads them. Pure.

The rules that are declared are one file; those that are loaded at boot are another, which gets them when a new
connection of the operator's came through them (deploys/operations/firewall.py).
"""

from __future__ import annotations

import hashlib

from deploys.files import ManagedFile
from deploys.observability import choice as observability
from deploys.settings import Settings

DECLARED_PATH = "/etc/cluster/firewall.nft"
PROVEN_PATH = "/etc/cluster/firewall-proven.nft"
UNIT = "cluster-firewall.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
# Ports where connections of the operator's arrived, when the rules were loaded: behind a translated address or an SSH
# configuration of their own it is not the one that the inventory names.
FOUND_PORTS = "ports_that_the_operator_came_through"

_UNIT = f"""\
# Managed by cluster.
[Unit]
Description=Firewall of the cluster's network
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target
ConditionPathExists={PROVEN_PATH}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {PROVEN_PATH}
ExecReload=/usr/sbin/nft -f {PROVEN_PATH}
ExecStop=/usr/sbin/nft delete table inet cluster

[Install]
WantedBy=multi-user.target
"""


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """The declared rules, and the unit that loads the proven ones at boot."""
    return (
        ManagedFile(DECLARED_PATH, text(settings), owner="root"),
        ManagedFile(UNIT_PATH, _UNIT, owner="root"),
    )


def text(settings: Settings) -> str:
    """nftables rules: on the cluster's interface the peers, SSH and the API; Ray's ports on no other interface.

    The table holds an empty chain named after the digest of the rules, so that what is loaded can be told from what is
    only written.
    """
    rules = "\n".join(f"    {rule}" for rule in _rules(settings))
    return (
        "#!/usr/sbin/nft -f\n# Managed by cluster.\ntable inet cluster\ndelete table inet cluster\n"
        f"table inet cluster {{\n  set {FOUND_PORTS} {{ type inet_service; }}\n  chain {mark(settings)} {{ }}\n"
        f"  chain input {{\n    type filter hook input priority 10; policy accept;\n{rules}\n  }}\n}}\n"
    )


def mark(settings: Settings) -> str:
    """Name of the chain that marks the declared rules as loaded."""
    said = "\n".join(_rules(settings)).encode()
    return f"rules_{hashlib.sha256(said).hexdigest()[:12]}"


def closed_ports(settings: Settings) -> tuple[tuple[int, int], ...]:
    """First and last of each range of ports that only the cluster's hosts reach."""
    ports = settings.ray.ports
    single = {
        ports.gcs,
        ports.object_manager,
        ports.runtime_env_agent,
        ports.agent_grpc,
        ports.metrics,
        ports.agent_http,
        ports.dashboard,
        ports.client,
        ports.watch,
        settings.depot.port,
        *observability.closed_ports(settings),
    }
    return (
        *((port, port) for port in sorted(single)),
        (ports.node_manager_first, ports.node_manager_last),
        (ports.worker_first, ports.worker_last),
        (ports.engine_first, ports.engine_last),
    )


def _rules(settings: Settings) -> list[str]:
    interface, way_in = settings.network.interface, settings.way_in
    closed = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in closed_ports(settings))
    opened = sorted({*way_in.ports, *((settings.gateway.port,) if settings.is_control else ())})
    boot = []
    if settings.boots_nodes and settings.netboot:
        boot = [
            f'iifname "{interface}" udp dport {{ 67, 69{", 4011" if settings.netboot.proxy else ""} }} accept',
            f'iifname "{interface}" ip saddr {settings.netboot.network} tcp dport {settings.netboot.http_port} accept',
        ]
    return [
        'iifname "lo" accept',
        f'iifname "{interface}" ct state established,related accept',
        # ICMP and ICMPv6 by number: names need a protocols file, which a minimal host lacks. Neighbours are found so.
        f'iifname "{interface}" meta l4proto {{ 1, 58 }} accept',
        # A server's answer about a lease is part of no connection: it goes to all, or comes from where none was asked.
        f'iifname "{interface}" udp sport 67 udp dport 68 accept',
        f'iifname "{interface}" udp sport 547 udp dport 546 accept',
        *([f'iifname "{interface}" udp dport 5353 accept'] if way_in.multicast_names else []),
        f'iifname "{interface}" ip saddr {{ {", ".join(settings.network.peers.values())} }} accept',
        *boot,
        f'iifname "{interface}" tcp dport {{ {", ".join(map(str, opened))} }} accept',
        *(f'iifname "{interface}" {entry.replace("/", " dport ")} accept' for entry in way_in.let_in),
        f"tcp dport @{FOUND_PORTS} accept",
        f'iifname "{interface}" drop',
        f"ct state new tcp dport {{ {closed} }} drop",
    ]
