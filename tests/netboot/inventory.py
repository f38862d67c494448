"""The lab's control host, and two virtual machines with empty disks that boot from it: one BIOS, one UEFI.

Their MAC addresses are in machines.yaml, as an operator writes them; guests.py writes it. With CLUSTER_TEST_PROXY=1
another DHCP server hands out the addresses.
"""

import json
import os

from hardware.lab import lab
from hardware.model import Cluster, Link, NetworkBoot, Node, ProfileError
from inventories.compose import Serving, Site, compose
from inventories.netboot import Netboot
from inventories.operator import cluster_directory, home_directory

_name = "netboot"
_file = home_directory() / "lab" / "lab.json"
if not _file.exists():
    raise ProfileError(f"no lab is up ({_file} is missing); run `cluster lab up --nodes 1`")
_lab = json.loads(_file.read_text())
_control = next(_host["address"] for _host in _lab["hosts"] if _host["role"] == "control")
_network = _control.rpartition(".")[0]
_addresses = {"control": _control, "compute-bios": f"{_network}.101", "compute-uefi": f"{_network}.102"}
_profile = lab(1)


def _guest(name: str) -> Node:
    return Node(
        name=name,
        role="compute",
        board="virtual machine",
        cluster_interface="eth0",
        network_boot=NetworkBoot(
            network_drivers=("virtio_net",),
            # Of the tests alone: a console that can be read, and no time for what an emulated processor does not need.
            kernel_arguments=("console=ttyS0", "net.ifnames=0", "mitigations=off", "systemd.firstboot=no"),
        ),
    )


_guests = (_guest("compute-bios"), _guest("compute-uefi"))
_connection = {
    "ssh_user": _lab["login_user"],
    "ssh_key": _lab["ssh_key"],
    "ssh_strict_host_key_checking": "yes",
    "ssh_allow_agent": False,
    "ssh_look_for_keys": False,
    "ssh_config_file": "/dev/null",
    "ssh_paramiko_connect_kwargs": {"banner_timeout": 60, "auth_timeout": 60},
    "_sudo": True,
}
_known_hosts = {"control": _lab["known_hosts"]}

control, compute = compose(
    Cluster(
        name="netboot",
        version="1.0",
        control=_profile.control,
        compute=_guests,
        links=tuple(
            Link(_link.kind, tuple(_addresses), _link.bits_per_second, note=_link.note) for _link in _profile.links
        ),
    ),
    name=_name,
    addresses=_addresses,
    serving=Serving(model="smollm2-135m-instruct", dtype="float32", enforce_eager=True),
    site=Site(
        login_user=_lab["login_user"],
        connection=_connection,
        netboot=Netboot(router=f"{_network}.254", proxy=os.environ.get("CLUSTER_TEST_PROXY") == "1"),
    ),
    connections={
        _host: {
            "ssh_hostname": _address,
            "ssh_known_hosts_file": _known_hosts.get(_host, str(cluster_directory(_name) / "known_hosts")),
        }
        for _host, _address in _addresses.items()
    },
)
