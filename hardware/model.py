"""The vocabulary of a bill of materials: accelerators, nodes, links, clusters.

Pure and frozen. Bytes, seconds, bits per second and watts, always said in the name. A number that comes from a
datasheet is a `Figure`, which cannot be made without its source.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

GIB = 1024**3
GIGA = 10**9

RuntimeKind = Literal["cpu", "cuda", "rocm"]
Role = Literal["control", "compute"]
LinkKind = Literal["ethernet", "usb4", "loopback", "virtual"]

# RFC 1123, section 2.1: what a host name may look like. Underscores, as in `control_0_1`, are not among it.
_HOST_NAME = re.compile(r"^(?!-)[a-z0-9-]{1,63}(?<!-)$")
# IFNAMSIZ of Linux is 16 with its end; of the characters that Linux takes, those that need no quotes anywhere.
_INTERFACE_NAME = re.compile(r"^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,15}$")
_MAC_ADDRESS = re.compile(r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")


class ProfileError(ValueError):
    """A profile or an inventory that cannot be: the message says what, where and how to mend it."""


class NoHostsError(ProfileError):
    """An inventory whose hosts are yet to be made: the message says how."""


@dataclass(frozen=True)
class Figure:
    """A number with the document that states it."""

    value: float
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ProfileError(f"figure {self.value!r} has no source; name the datasheet that states it")
        if self.value <= 0:
            raise ProfileError(f"figure {self.value!r} from {self.source!r} must be above zero")


@dataclass(frozen=True)
class Accelerator:
    """One GPU, iGPU or NPU model.

    `eight_bit_dense_flops_per_second` is for FP8 (and INT8 where it is the same). `peer_bandwidth_bytes_per_second` is
    what one card reads from others in its node, one way, over NVLink or the like; None where there is none.
    `engine` says whether vLLM can run on it, with `engine_note` saying why not or under which condition.
    `environment` is what its driver stack needs in the environment of every process that touches it.
    """

    name: str
    vendor: Literal["amd", "nvidia"]
    runtime_kind: RuntimeKind
    architecture: str
    memory_bytes: Figure
    memory_bandwidth_bytes_per_second: Figure
    half_precision_dense_flops_per_second: Figure | None = None
    # Not in repr(): the digests of profiles that were released before these existed are over it.
    eight_bit_dense_flops_per_second: Figure | None = field(default=None, repr=False)
    peer_bandwidth_bytes_per_second: Figure | None = field(default=None, repr=False)
    board_power_watts: Figure | None = None
    shares_system_memory: bool = False
    engine: Literal["vllm", "none"] = "vllm"
    engine_note: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    minimum_kernel: str = ""


@dataclass(frozen=True)
class NeuralProcessor:
    """An NPU beside the GPU. Detected and reported only: vLLM has no support for any of them."""

    name: str
    peak_int8_operations_per_second: Figure
    note: str


@dataclass(frozen=True)
class NetworkBoot:
    """How a board's firmware and card behave when the machine boots from the network: quirks as data.

    `network_drivers` are kernel modules that the initrd needs for the card. `secure_boot`: the firmware takes signed
    loaders only, so Debian's shim and GRUB load the kernel. `largest_load_bytes`: kernel and initrd together, where the
    firmware or its memory map takes no more. `refused_packages` are driver packages that break the card or the initrd.
    `kernel_arguments` are the board's own; an accelerator's are with the accelerator.
    """

    network_drivers: tuple[str, ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    refused_packages: tuple[str, ...] = ()
    largest_load_bytes: int = 0
    secure_boot: bool = False
    wake_on_lan: bool = False
    note: str = ""


@dataclass(frozen=True)
class Node:
    """One machine. `cluster_interface` is the interface that carries the cluster's own network.

    `mac_address` is that interface's, where the profile knows it: a machine's own number, which its owner gives
    (inventories/composition/machines.py) when the profile is of a kind of machine and not of one. `reserve_bytes` of
    its memory are the system's; None: as the planner assumes it.
    """

    name: str
    role: Role
    board: str
    cluster_interface: str
    processor: str = ""
    processor_threads: int | None = None
    memory_bytes: Figure | None = None
    memory_bandwidth_bytes_per_second: Figure | None = None
    accelerators: tuple[Accelerator, ...] = ()
    neural_processors: tuple[NeuralProcessor, ...] = ()
    # Not in repr(): the digests of profiles that were released before these existed are over it.
    mac_address: str = field(default="", repr=False)
    network_boot: NetworkBoot = field(default=NetworkBoot(), repr=False)
    reserve_bytes: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mac_address:
            check_mac_address(self.mac_address, f"node {self.name}")
        if not _HOST_NAME.match(self.name):
            raise ProfileError(
                f"node name {self.name!r} is no host name (RFC 1123); use letters, digits and '-', e.g. "
                f"{re.sub('[^a-z0-9-]', '-', self.name.lower())!r}"
            )
        if not self.cluster_interface:
            raise ProfileError(
                f"node {self.name}: cluster_interface is empty; name the interface of the cluster's network"
            )

    @property
    def engine_accelerators(self) -> tuple[Accelerator, ...]:
        """The accelerators that the engine can use."""
        return tuple(part for part in self.accelerators if part.engine == "vllm")


@dataclass(frozen=True)
class Link:
    """A network between nodes; `members` are node names. An optional link may be down without the cluster failing."""

    kind: LinkKind
    members: tuple[str, ...]
    bits_per_second: Figure
    optional: bool = False
    note: str = ""


@dataclass(frozen=True)
class Cluster:
    """A hardware profile: one control node, compute nodes, and what joins them. Frozen once released."""

    name: str
    version: str
    control: Node
    compute: tuple[Node, ...]
    links: tuple[Link, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.control.role != "control":
            raise ProfileError(f"profile {self.name}: control node {self.control.name} has role {self.control.role!r}")
        if not self.compute:
            raise ProfileError(f"profile {self.name}: no compute nodes; a cluster needs at least one")
        for node in self.compute:
            if node.role != "compute":
                raise ProfileError(f"profile {self.name}: compute node {node.name} has role {node.role!r}")
        names = [node.name for node in self.nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ProfileError(f"profile {self.name}: node names used twice: {', '.join(twice)}")
        for link in self.links:
            strangers = sorted(set(link.members) - set(names))
            if strangers:
                raise ProfileError(f"profile {self.name}: {link.kind} link names unknown nodes: {', '.join(strangers)}")
        kinds = {part.runtime_kind for node in self.compute for part in node.engine_accelerators}
        if len(kinds) > 1:
            raise ProfileError(
                f"profile {self.name}: compute nodes mix {' and '.join(sorted(kinds))}; one engine runtime serves one "
                "cluster, so make a profile for each kind"
            )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Control node first, then the compute nodes in their order."""
        return (self.control, *self.compute)

    @property
    def runtime_kind(self) -> RuntimeKind:
        """The one runtime that every node of this cluster runs."""
        for node in self.compute:
            for part in node.engine_accelerators:
                return part.runtime_kind
        return "cpu"


def check_address(value: object, owner: str) -> str:
    """`value` as it is if it is the IPv4 address of one host; ProfileError that names `owner` otherwise.

    The one door for addresses on the cluster's network. IPv6 stays outside: docs/decisions.md.
    """
    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        raise ProfileError(f"{owner}: address {value!r} is not an IP address; write it as in 192.168.10.11")
    if address.version != 4:
        raise ProfileError(
            f"{owner}: address {value} is of IPv6, which the cluster's own network cannot have; give an IPv4 address, "
            "as in 192.168.10.11 (you may reach the host itself over IPv6: ssh_hostname)"
        )
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ProfileError(f"{owner}: address {value} is no single host's; write it as in 192.168.10.11")
    return str(value)


def check_interface(value: object, owner: str) -> str:
    """`value` as it is if Linux can have an interface of that name; ProfileError that names `owner` otherwise."""
    if not isinstance(value, str) or not _INTERFACE_NAME.match(value):
        raise ProfileError(
            f"{owner}: {value!r} is no name of a network interface; write it as `ip -brief address` shows it, without "
            "what stands behind an @"
        )
    return value


def check_mac_address(value: object, owner: str) -> str:
    """`value` as it is if it is the MAC address of one network card; ProfileError that names `owner` otherwise."""
    if not isinstance(value, str) or not _MAC_ADDRESS.match(value):
        raise ProfileError(
            f"{owner}: MAC address {value!r} is not six pairs of small hexadecimal digits; write it as `ip -brief "
            "link` shows it: 52:54:00:12:34:56"
        )
    if int(value[:2], 16) & 1 or value == "00:00:00:00:00:00":
        raise ProfileError(f"{owner}: MAC address {value} is no single card's; take it from `ip -brief link`")
    return value
