"""Clusters of the lab's control host and two virtual machines that boot from it: one BIOS, one UEFI.

Their MAC addresses are in machines.yaml, as an operator writes them; lab/guests.py does. With CLUSTER_GUEST_PROXY=1
another DHCP server hands out the addresses. ProfileError without a lab.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

from hardware.lab import lab as lab_profile
from hardware.model import Cluster, NetworkBoot, Node, ProfileError
from inventories.composition.compose import Group, Serving, Site, compose
from inventories.composition.netboot import Netboot
from inventories.composition.operator import cluster_directory, home_directory
from lab.guests import ADDRESSES, MACS
from lab.plan import GATEWAY

# Of the guests alone: a console that can be read, and no time for what an emulated processor does not need.
_KERNEL_ARGUMENTS = ("console=ttyS0", "net.ifnames=0", "mitigations=off", "systemd.firstboot=no")


def guest_cluster(name: str, *, lab_nodes: bool = False) -> tuple[Group, Group]:
    """Groups of an inventory: control and the guests; with `lab_nodes` the lab's own compute hosts too, which serve."""
    file = home_directory() / "lab" / "lab.json"
    if not file.exists():
        raise ProfileError(f"no lab is up ({file} is missing); run `cluster lab up --nodes 1`")
    state = json.loads(file.read_text())
    profile = lab_profile(sum(host["role"] == "compute" for host in state["hosts"]))
    mine = {host["name"]: host["address"] for host in state["hosts"] if lab_nodes or host["role"] == "control"}
    addresses = {**mine, **ADDRESSES}
    servers = tuple(node for node in profile.compute if node.name in addresses)
    return compose(
        Cluster(
            name=name,
            version="1.0",
            control=profile.control,
            compute=(*servers, *(_guest(guest) for guest in MACS)),
            links=tuple(replace(link, members=tuple(addresses)) for link in profile.links),
        ),
        name=name,
        addresses=addresses,
        serving=Serving(
            model="smollm2-135m-instruct",
            dtype="float32",
            enforce_eager=True,
            # As in inventories/lab.py: an engine of 3 GB beside the other hosts of one machine.
            engine={"kv_cache_memory_bytes": 96 * 1024**2, "max_num_seqs": 16},
            nodes=tuple(node.name for node in servers),
        ),
        site=Site(
            login_user=state["login_user"],
            connection=_connection(state),
            netboot=Netboot(router=GATEWAY, proxy=os.environ.get("CLUSTER_GUEST_PROXY") == "1"),
            use_operator_package_sources=True,
            shared_processors=True,
        ),
        connections={
            host: {
                "ssh_hostname": address,
                "ssh_known_hosts_file": state["known_hosts"]
                if host in mine
                else str(cluster_directory(name) / "known_hosts"),
            }
            for host, address in addresses.items()
        },
    )


def _guest(name: str) -> Node:
    return Node(
        name=name,
        role="compute",
        board="virtual machine",
        cluster_interface="eth0",
        network_boot=NetworkBoot(network_drivers=("virtio_net",), kernel_arguments=_KERNEL_ARGUMENTS),
    )


def _connection(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "ssh_user": state["login_user"],
        "ssh_key": state["ssh_key"],
        "ssh_strict_host_key_checking": "yes",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        "ssh_config_file": "/dev/null",
        "ssh_paramiko_connect_kwargs": {"banner_timeout": 60, "auth_timeout": 60},
        "_sudo": True,
    }
