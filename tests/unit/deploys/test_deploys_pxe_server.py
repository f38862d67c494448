"""The boot server's configuration: what it says, that dnsmasq takes it, and that it opens no more than needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploys import hosts, roles
from deploys.compute_base import firewall
from deploys.compute_base.system import system_files
from deploys.pxe_server.configuration import choosing_text, dnsmasq_text, nginx_text
from deploys.pxe_server.declared import DHCP, HTTP, services
from deploys.settings import Settings
from inventories.composition.machines import path
from inventories.composition.netboot import Netboot

Composed = Callable[..., dict[str, Settings]]
MACHINES = "compute0: 52:54:00:00:00:01\ncompute1: {mac_address: 52:54:00:00:00:02, secure_boot: true}\n"


@pytest.fixture
def booting(home: Path, composed: Composed) -> Callable[..., dict[str, Settings]]:
    """Settings of a lab whose control node boots both compute nodes, the second with Secure Boot."""

    def make(**netboot: object) -> dict[str, Settings]:
        file = path("lab")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MACHINES)
        return composed(site={"netboot": Netboot(**netboot)})  # type: ignore[arg-type]

    return make


def test_dhcp_is_for_known_cards_on_one_interface(booting: Composed) -> None:
    lines = dnsmasq_text(booting()["control"]).splitlines()
    for line in ("port=0", "interface=eth0", "bind-interfaces", "dhcp-ignore=tag:!known"):
        assert line in lines
    assert [line for line in lines if line.startswith("dhcp-host=")] == [
        "dhcp-host=52:54:00:00:00:01,set:compute0,192.0.2.11,compute0",
        "dhcp-host=52:54:00:00:00:02,set:compute1,set:signed,192.0.2.12,compute1",
    ]
    # Static: without a line of its own a card gets no address, whatever else is tagged.
    assert "dhcp-range=192.0.2.0,static,255.255.255.0,12h" in lines


def test_beside_another_server_no_address_is_handed_out(booting: Composed) -> None:
    text = dnsmasq_text(booting(proxy=True)["control"])
    assert "dhcp-range=192.0.2.0,proxy,255.255.255.0\n" in text
    assert "dhcp-option" not in text
    assert 'pxe-service=tag:!ipxe,tag:signed,X86-64_EFI,"cluster",shimx64.efi' in text


@pytest.mark.parametrize("netboot", [{}, {"proxy": True}, {"router": "192.0.2.254", "name_servers": ("192.0.2.53",)}])
def test_dnsmasq_takes_its_configuration(booting: Composed, tmp_path: Path, netboot: dict[str, object]) -> None:
    if not shutil.which("dnsmasq"):
        pytest.skip("no dnsmasq on this machine (Debian: dnsmasq-base)")
    file = tmp_path / "dnsmasq.conf"
    file.write_text(dnsmasq_text(booting(**netboot)["control"]))
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={file}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_identity_is_for_its_own_node_alone(booting: Composed) -> None:
    text = nginx_text(booting()["control"])
    assert "listen 192.0.2.10:8780;" in text
    assert "location /identity/compute0/ { allow 192.0.2.11; deny all; }" in text
    assert "location /identity/compute1/ { allow 192.0.2.12; deny all; }" in text
    assert "location / { return 404; }" in text


def test_firewall_is_opened_for_the_boot_server_alone(booting: Composed, composed: Composed) -> None:
    without = firewall.text(composed()["control"])
    settings = booting()
    added = set(firewall.text(settings["control"]).splitlines()) - set(without.splitlines())
    rules = {line.strip() for line in added if "chain" not in line}
    assert rules == {
        'iifname "eth0" udp dport { 67, 69 } accept',
        'iifname "eth0" ip saddr 192.0.2.0/24 tcp dport 8780 accept',
    }
    assert "4011" in firewall.text(booting(proxy=True)["control"])
    assert "dport { 67" not in firewall.text(settings["compute0"])


def test_daemons_are_confined_and_carry_their_digest(booting: Composed) -> None:
    settings = booting()["control"]
    http, dhcp = services(settings)
    assert (http.name, dhcp.name) == (HTTP, DHCP)
    units = {service.name: hosts.of(settings).manager.text(service) for service in (http, dhcp)}
    for unit in units.values():
        for line in ("ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateDevices=yes", "ProtectHome=yes"):
            assert line in unit.splitlines()
        assert "ProtectSystem=full" not in unit
    assert "User=cluster-netboot" in units[HTTP].splitlines()
    assert "CapabilityBoundingSet=" in units[HTTP].splitlines()
    assert "BindReadOnlyPaths=/var/lib/cluster/images:/var/lib/cluster-netboot/http/images" in units[HTTP]
    other = services(booting(router="192.0.2.254")["control"])
    assert [one.digest == two.digest for one, two in zip((http, dhcp), other, strict=True)] == [True, False]


def test_boot_server_is_part_of_what_is_verified(booting: Composed, composed: Composed) -> None:
    settings = booting()
    assert {HTTP, DHCP} <= {service.name for service in roles.services(settings["control"])}
    paths = {file.path for file in roles.managed_files(settings["control"])}
    assert {"/etc/cluster/dnsmasq.conf", "/etc/cluster/netboot.json"} <= paths
    assert "/usr/local/lib/cluster/deploys/pxe_server/programs/cluster_netboot.py" in paths
    for other in (settings["compute0"], composed()["control"]):
        assert not {HTTP, DHCP} & {service.name for service in roles.services(other)}


def test_choosing_program_gets_every_machine(booting: Composed) -> None:
    data = json.loads(choosing_text(booting()["control"]))
    assert data["machines"]["compute1"]["address"] == "192.0.2.12/24"
    assert data["broadcast"] == "192.0.2.255"
    assert data["images"] == "/var/lib/cluster/images"


def test_kernel_arguments_of_a_booted_node_are_not_in_a_boot_menu(booting: Composed) -> None:
    from msgspec.structs import replace

    node = booting()["compute0"]
    node = replace(node, accelerators=replace(node.accelerators, kernel_arguments=("ttm.pages_limit=1",)))
    assert node.is_booted
    assert not [file for file in system_files(node) if "grub" in file.path]
    own_disk = replace(node, netboot=None)
    assert [file for file in system_files(own_disk) if "grub" in file.path]
