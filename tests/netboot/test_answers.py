"""What the boot server says and sends: loaders, scripts, beside another DHCP server, the packet that wakes a node.

No machine boots here. Questions and answers are real: busybox's DHCP and TFTP clients on the lab's switch, captures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from experiments.boot_lab.lab import INVENTORY, BootLab
from lab.guests import MACS
from tests.netboot.dhcp import BIOS, UEFI, Client, ipxe, pxe
from tests.netboot.other_server import OTHER_ADDRESSES, OTHER_SERVER, OtherServer

pytestmark = pytest.mark.lab

CONTROL = "10.77.0.1"
ADDRESSES = {"compute-bios": "10.77.0.101", "compute-uefi": "10.77.0.102"}
ROMS = {"compute-bios": (BIOS, "undionly.kpxe"), "compute-uefi": (UEFI, "snponly.efi")}


@contextmanager
def served(boot_lab: BootLab, machines: str = "") -> Iterator[None]:
    """The boot server as the inventory and these machines say; the machines are as before afterwards."""
    file = boot_lab.home / "netboot" / "machines.yaml"
    before = file.read_text()
    file.write_text(machines or before)
    try:
        done = boot_lab.netboot("serve")
        assert done.status == 0, done.stderr[-2000:]
        yield
    finally:
        file.write_text(before)


@pytest.fixture(scope="module")
def as_before(boot_lab: BootLab) -> Iterator[None]:
    """The boot server is set up anew after these tests, when what they changed of the inventory is gone."""
    yield
    assert boot_lab.netboot("serve").status == 0


@pytest.mark.parametrize("node", ROMS)
def test_a_plain_rom_gets_the_bytes_of_its_loader(boot_lab: BootLab, node: str) -> None:
    architecture, loader = ROMS[node]
    with Client("netboot-client", MACS[node]) as client:
        client.plug_into_switch()
        said = client.answer(*pxe(architecture))
        assert (said["ip"], said["siaddr"], said["boot_file"]) == (ADDRESSES[node], CONTROL, loader)
        got = client.fetch(said["siaddr"], said["boot_file"])
    there = boot_lab.ssh("control", f"sha256sum /usr/lib/ipxe/{loader}; dpkg --verify ipxe").stdout
    assert there.split() == [hashlib.sha256(got).hexdigest(), f"/usr/lib/ipxe/{loader}"], "the package's own bytes"


@pytest.mark.parametrize("node", ROMS)
def test_ipxe_gets_its_nodes_script(boot_lab: BootLab, node: str) -> None:
    with Client("netboot-client", MACS[node]) as client:
        client.plug_into_switch()
        script = client.answer(*ipxe(ROMS[node][0]))["boot_file"]
        assert script == f"http://{CONTROL}:8780/nodes/{node}/start.ipxe"
        text = client.run("busybox", "wget", "-q", "-O", "-", script).stdout
    assert text.startswith("#!ipxe") and f"/nodes/{node}/current/boot.ipxe" in text


@pytest.mark.usefixtures("as_before")
def test_beside_another_server_it_offers_no_address(boot_lab: BootLab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as inventory:
        inventory.setenv("CLUSTER_GUEST_PROXY", "1")
        with served(boot_lab), OtherServer():
            seen = {}
            for node, words in (("compute-uefi", pxe(UEFI)), ("compute-bios", ipxe(BIOS))):
                with Client("netboot-client", MACS[node]) as client:
                    client.plug_into_switch()
                    client.answer(*words)
                    seen[node] = [packet for packet in client.captured() if packet.port == 67]
    for node, packets in seen.items():
        assert {packet.source for packet in packets} == {CONTROL, OTHER_SERVER}, f"{node}: both answered"
        assert {packet.offered for packet in packets if packet.source == CONTROL} == {""}
        assert {packet.offered for packet in packets if packet.source == OTHER_SERVER} <= OTHER_ADDRESSES
    ours = {node: "".join(p.text for p in packets if p.source == CONTROL) for node, packets in seen.items()}
    assert "PXEClient" in ours["compute-uefi"] and f"Server-IP {CONTROL}" in ours["compute-uefi"]
    assert f'file "http://{CONTROL}:8780/nodes/compute-bios/start.ipxe"' in ours["compute-bios"]


@pytest.mark.usefixtures("as_before", "image")
def test_a_node_is_woken_on_the_clusters_wire_alone_and_named_when_it_stays_off(boot_lab: BootLab) -> None:
    machines = (
        f'compute-bios: {{mac_address: "{MACS["compute-bios"]}", wake_on_lan: true}}\n'
        f"compute-uefi: {MACS['compute-uefi']}\n"
    )
    with (
        Client("netboot-client", "52:54:00:77:99:98", "udp port 9") as switch,
        Client("netboot-other", "52:54:00:77:99:99", "udp port 9") as other,
        served(boot_lab, machines),
    ):
        switch.plug_into_switch()
        other.plug_into_host("control", "other0", "10.77.1.1/24")
        done = boot_lab.netboot("wake")
        assert done.status == 0, done.stderr
        said = " ".join(done.stderr.split())
        assert "woken: compute-bios to be switched on by hand: compute-uefi" in said
        up = boot_lab.run("-c", INVENTORY, "up", "--only", "boot", "--boot-seconds", "5")
        woken = switch.captured()
        assert other.captured() == []
    card = bytes.fromhex(MACS["compute-bios"].replace(":", ""))
    assert [(packet.source, packet.payload) for packet in woken] == [(CONTROL, b"\xff" * 6 + card * 16)] * 2
    assert up.status == 1
    said = " ".join(up.stderr.split())
    assert "woken: compute-bios; switch on by hand what stays off" in said
    assert f"switch on compute-uefi ({MACS['compute-uefi']}): no Wake-on-LAN is declared for it" in said
    assert "compute-bios: never asked for its root: is it on" in up.complaint
