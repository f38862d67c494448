"""Which nodes boot from the control node, and with what: plain data for deploys/pxe_server. Pure.

ProfileError for a plan that would give two machines one identity, or an address that the control node cannot hand out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardware.model import Cluster, ProfileError

NETBOOT_PORT = 8780


@dataclass(frozen=True)
class Netboot:
    """The control node boots the compute nodes whose MAC address is known.

    `prefix_length`: of the cluster's network, which is the control node's address under it. `proxy`: another server
    hands out addresses there, and the control node adds only what to boot. `router` and `name_servers`: what the nodes
    are told, empty where they reach nothing outside.
    """

    prefix_length: int = 24
    proxy: bool = False
    router: str = ""
    name_servers: tuple[str, ...] = ()
    http_port: int = NETBOOT_PORT


def boot_plan(name: str, cluster: Cluster, addresses: Mapping[str, str], netboot: Netboot) -> dict[str, Any]:
    """The value of `settings.netboot`; nodes without a MAC address are named in `without_mac` and not booted."""
    where = f"inventory {name}: network boot"
    network = _network(where, addresses[cluster.control.name], netboot)
    _refuse_shared_cards(where, cluster)
    machines = []
    for node in cluster.compute:
        if not node.mac_address or node.name not in addresses:
            continue
        address = ipaddress.ip_address(addresses[node.name])
        edges = (network.network_address, network.broadcast_address)
        if address.version != network.version or address not in network or address in edges:
            raise ProfileError(
                f"{where}: {node.name}'s address {address} is outside the control node's network {network}; the "
                "control node hands out addresses of its own network only: correct the address plan or prefix_length"
            )
        boot = node.network_boot
        arguments = [argument for part in node.engine_accelerators for argument in part.kernel_arguments]
        machines.append(
            {
                "node": node.name,
                "mac_address": node.mac_address,
                "address": str(address),
                "secure_boot": boot.secure_boot,
                "wake_on_lan": boot.wake_on_lan,
                "kernel_arguments": [*boot.kernel_arguments, *arguments],
                "refused_packages": list(boot.refused_packages),
                "largest_load_bytes": boot.largest_load_bytes,
            }
        )
    for owner, value in (("router", netboot.router), *(("name server", server) for server in netboot.name_servers)):
        if value and not _is_ipv4(value):
            raise ProfileError(f"{where}: {owner} {value!r} is no IPv4 address")
    return {
        "network": str(network),
        "proxy": netboot.proxy,
        "router": netboot.router,
        "name_servers": list(netboot.name_servers),
        "http_port": netboot.http_port,
        "machines": machines,
        "without_mac": [node.name for node in cluster.compute if not node.mac_address],
        "network_drivers": list(
            dict.fromkeys(driver for node in cluster.compute for driver in node.network_boot.network_drivers)
        ),
    }


def _network(where: str, control: str, netboot: Netboot) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Interface(f"{control}/{netboot.prefix_length}").network
    except ValueError:
        raise ProfileError(
            f"{where}: the control node's address {control} with prefix_length {netboot.prefix_length} is no IPv4 "
            "network; firmware boots over IPv4 here, so the cluster's addresses have to be IPv4"
        ) from None


def _refuse_shared_cards(where: str, cluster: Cluster) -> None:
    owners: dict[str, str] = {}
    for node in cluster.nodes:
        if not node.mac_address:
            continue
        other = owners.setdefault(node.mac_address, node.name)
        if other != node.name:
            raise ProfileError(
                f"{where}: {other} and {node.name} both have the MAC address {node.mac_address}; each card has its "
                "own: read it on each machine with `ip -brief link`"
            )


def _is_ipv4(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True
