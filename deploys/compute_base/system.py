"""System files of a managed host: limits, name resolution, firewall, kernel arguments. Pure."""

from __future__ import annotations

import hashlib

from deploys.files import ManagedFile
from deploys.services.description import OPEN_FILES
from deploys.settings import Settings

HOSTS_PATH = "/etc/hosts"
FIREWALL_PATH = "/etc/cluster/firewall.nft"
FIREWALL_UNIT_PATH = "/etc/systemd/system/cluster-firewall.service"

_FIREWALL_UNIT = f"""\
# Managed by cluster.
[Unit]
Description=Firewall of the cluster's network
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {FIREWALL_PATH}
ExecReload=/usr/sbin/nft -f {FIREWALL_PATH}
ExecStop=/usr/sbin/nft delete table inet cluster

[Install]
WantedBy=multi-user.target
"""


def system_files(settings: Settings) -> list[ManagedFile]:
    """Managed files that only a host of which we manage the system has."""
    files = [
        limits_file(),
        ManagedFile(HOSTS_PATH, hosts_text(settings), owner="root"),
        ManagedFile(FIREWALL_PATH, firewall_text(settings), owner="root"),
        ManagedFile(FIREWALL_UNIT_PATH, _FIREWALL_UNIT, owner="root"),
    ]
    # The control node gives them to a node that it boots.
    if settings.accelerators.kernel_arguments and not settings.is_booted:
        arguments = " ".join(settings.accelerators.kernel_arguments)
        files.append(
            ManagedFile(
                "/etc/default/grub.d/60-cluster.cfg",
                f'# Managed by cluster.\nGRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {arguments}"\n',
                owner="root",
            )
        )
    return files


def limits_file() -> ManagedFile:
    """Limits of every login; the same on every host."""
    return ManagedFile(
        "/etc/security/limits.d/60-cluster.conf",
        f"# Managed by cluster. Ray holds a socket for each worker and each object transfer.\n"
        f"* soft nofile {OPEN_FILES}\n* hard nofile {OPEN_FILES}\n",
        owner="root",
    )


def hosts_text(settings: Settings) -> str:
    """/etc/hosts: every node's name resolves to its cluster address, on the node itself too.

    A node's own name on a loopback line makes Gloo and Ray announce an address that nobody else can reach. On compute
    nodes `compute-node` is an alias of loopback for local tools.
    """
    loopback = "127.0.0.1 localhost" if settings.is_control else "127.0.0.1 localhost compute-node"
    lines = [
        "# Managed by cluster.",
        loopback,
        "::1 localhost ip6-localhost ip6-loopback",
        *(f"{address} {name}" for name, address in settings.network.peers.items()),
    ]
    return "\n".join(lines) + "\n"


def firewall_text(settings: Settings) -> str:
    """nftables rules: on the cluster's interface the peers, SSH and the API; Ray's ports on no other interface.

    The table holds an empty chain named after the digest of the rules, so that what is loaded can be told from what is
    only written.
    """
    body = _firewall_rules(settings)
    return f"#!/usr/sbin/nft -f\n# Managed by cluster.\ntable inet cluster\ndelete table inet cluster\n{body}"


def firewall_chain(settings: Settings) -> str:
    """Name of the chain that marks the declared rules as loaded."""
    return f"rules_{_digest(settings)}"


def _digest(settings: Settings) -> str:
    return hashlib.sha256("\n".join(_rules(settings)).encode()).hexdigest()[:12]


def _firewall_rules(settings: Settings) -> str:
    rules = "\n".join(f"    {rule}" for rule in _rules(settings))
    return (
        f"table inet cluster {{\n  chain {firewall_chain(settings)} {{ }}\n"
        f"  chain input {{\n    type filter hook input priority 10; policy accept;\n{rules}\n  }}\n}}\n"
    )


def _rules(settings: Settings) -> list[str]:
    ports, interface = settings.ray.ports, settings.network.interface
    families: dict[str, list[str]] = {}
    for address in settings.network.peers.values():
        families.setdefault("ip6" if ":" in address else "ip", []).append(address)
    from_peers = [
        f'iifname "{interface}" {family} saddr {{ {", ".join(addresses)} }} accept'
        for family, addresses in families.items()
    ]
    pinned = sorted(
        {
            ports.gcs,
            ports.object_manager,
            ports.runtime_env_agent,
            ports.agent_grpc,
            ports.metrics,
            ports.agent_http,
            ports.dashboard,
            ports.dashboard_metrics,
            ports.client,
            ports.watch,
            settings.depot.port,
        }
    )
    ranges = (
        f"{ports.node_manager_first}-{ports.node_manager_last}",
        f"{ports.worker_first}-{ports.worker_last}",
        f"{ports.engine_first}-{ports.engine_last}",
    )
    closed = ", ".join([*(str(port) for port in pinned), *ranges])
    opened = f"22, {settings.gateway.port}" if settings.is_control else "22"
    boot = []
    if settings.boots_nodes and settings.netboot:
        boot = [
            f'iifname "{interface}" udp dport {{ 67, 69{", 4011" if settings.netboot.proxy else ""} }} accept',
            f'iifname "{interface}" ip saddr {settings.netboot.network} tcp dport {settings.netboot.http_port} accept',
        ]
    return [
        'iifname "lo" accept',
        f'iifname "{interface}" ct state established,related accept',
        # ICMP and ICMPv6 by number: names need a protocols file, which a minimal host lacks.
        f'iifname "{interface}" meta l4proto {{ 1, 58 }} accept',
        *from_peers,
        *boot,
        f'iifname "{interface}" tcp dport {{ {opened} }} accept',
        f'iifname "{interface}" drop',
        f"ct state new tcp dport {{ {closed} }} drop",
    ]
