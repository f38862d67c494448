"""Settings of compute_base: the network, the system and its accelerators, the paths, the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from deploys.part import Part


class Network(Part, frozen=True):
    """The cluster's own network as this node sees it. `peers`: every node's address, this one's too."""

    address: str
    interface: str
    peers: Mapping[str, str]
    links: tuple[Mapping[str, Any], ...]


class WayIn(Part, frozen=True):
    """What the operator comes through, so that the firewall leaves it open.

    `ports`: where the inventory connects to. `multicast_names`: it does so by a name that the host itself has to tell
    (mDNS, `NAME.local`). `let_in`: more that the inventory wants open, as in udp/51820.
    """

    ports: tuple[int, ...]
    let_in: tuple[str, ...]
    multicast_names: bool


class System(Part, frozen=True):
    """How the host is kept: by which service manager, and what follows from that, is in deploys/hosts.

    `shared_files`: the nodes see one file system with runtime and model on it. `shared_machine`: they share one
    machine's processors and memory. `new_nodes`: how compute nodes are made on demand, up to `most_nodes` of them, or
    with 0 as many as the machine bears.
    """

    login_user: str
    service_user: str
    service_manager: Literal["systemd", "supervisor", "compose"]
    shared_files: bool
    shared_machine: bool
    package_sources: Mapping[str, str]
    new_nodes: Literal["none", "processes", "lab_hosts"]
    most_nodes: int


class Accelerators(Part, frozen=True):
    """What engines compute with on this node, and what it asks of the kernel's command line and of processes.

    `vendor` and `architecture` ("gfx1102", "sm_89") are those of all of them, "" without any or where they differ;
    `memory_bytes` is that of each card, 0 where it is the system's.
    """

    names: tuple[str, ...]
    vendor: Literal["amd", "nvidia", ""]
    architecture: str
    memory_bytes: int
    kernel_arguments: tuple[str, ...]
    environment: Mapping[str, str]


class Directories(Part, frozen=True):
    """Absolute paths on the host."""

    runtime: str
    package_cache: str
    models: str
    library: str
    configuration: str
    state: str
    ray: str


class Runtime(Part, frozen=True):
    """Which locked runtime: the accelerator kind and the Python it is built for."""

    kind: Literal["cpu", "cuda", "rocm"]
    python: str
