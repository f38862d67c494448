"""Settings of pxe_server: the nodes that boot from the control node, and how."""

from __future__ import annotations

from deploys.part import Part


class Machine(Part, frozen=True):
    """One node that boots from the control node."""

    node: str
    mac_address: str
    address: str
    secure_boot: bool
    wake_on_lan: bool
    kernel_arguments: tuple[str, ...]
    refused_packages: tuple[str, ...]
    largest_load_bytes: int


class BootPlan(Part, frozen=True):
    """What the control node boots, on which network; `proxy` where another server hands out the addresses.

    `network_drivers`: what the image needs for the cards of all nodes, whether their MAC addresses are known or not.
    """

    network: str
    proxy: bool
    router: str
    name_servers: tuple[str, ...]
    http_port: int
    machines: tuple[Machine, ...]
    without_mac: tuple[str, ...]
    network_drivers: tuple[str, ...]
