"""Boots that take minutes and are not in CI: Secure Boot, and beside another DHCP server.

`CLUSTER_TEST_OTHER_BOOTS=1 .venv/bin/pytest tests/netboot/test_other_boots.py`, as root. CI has what these boots are
made of in test_answers.py and test_netboot.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.boot_lab.lab import BootLab
from lab.guests import BOOT_SECONDS, MACS, Guest
from tests.netboot.dhcp import UEFI, Client, pxe
from tests.netboot.other_server import OTHER_ADDRESSES, OTHER_SERVER, OtherServer
from tests.netboot.test_answers import CONTROL, served

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not os.environ.get("CLUSTER_TEST_OTHER_BOOTS"), reason="minutes: CLUSTER_TEST_OTHER_BOOTS=1"),
]

NODE = "compute-uefi"
SIGNED = f'compute-bios: {MACS["compute-bios"]}\n{NODE}: {{mac_address: "{MACS[NODE]}", secure_boot: true}}\n'
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.fixture
def place(tmp_path: Path, boot_lab: BootLab) -> Iterator[Path]:
    """For a guest's files; the boot server is set up as before afterwards."""
    yield tmp_path
    assert boot_lab.netboot("serve").status == 0


def came_up(boot_lab: BootLab, guest: Guest) -> None:
    """Until the guest answers over SSH with the key that is kept for it; its console says first that it is there."""
    guest.wait_for(f"{NODE} login:")
    waited = boot_lab.netboot("wait", "--node", NODE, "--seconds", str(BOOT_SECONDS), seconds=BOOT_SECONDS + 300)
    assert waited.status == 0, f"{waited.stderr}\n{guest.said()[-1500:]}"


@pytest.mark.usefixtures("image")
def test_signed_loaders_boot_where_the_firmware_takes_no_others(boot_lab: BootLab, place: Path) -> None:
    guest = Guest(NODE, MACS[NODE], "secure", place)
    try:
        with served(boot_lab, SIGNED):
            with Client("netboot-client", MACS[NODE]) as client:
                client.plug_into_switch()
                assert client.answer(*pxe(UEFI))["boot_file"] == "shimx64.efi"
            guest.power_on()
            came_up(boot_lab, guest)
        look = f"mountpoint -q {Path(SECURE_BOOT).parent} || mount -t efivarfs efivarfs {Path(SECURE_BOOT).parent}"
        seen = boot_lab.guest_ssh(NODE, f"{look}; od -An -tu1 {SECURE_BOOT}; cat /sys/kernel/security/lockdown")
        assert seen.stdout.splitlines()[0].split()[-1] == "1", f"{seen}: the firmware says that Secure Boot is on"
        assert "[integrity]" in seen.stdout, "and the kernel locked itself down for it"
    finally:
        guest.power_off()


@pytest.mark.usefixtures("image")
def test_unsigned_loader_is_refused_by_the_firmware(boot_lab: BootLab, place: Path) -> None:
    guest = Guest(NODE, MACS[NODE], "secure", place)
    guest.power_on()
    try:
        guest.wait_for("Access Denied")
        assert "iPXE" not in guest.said()
        assert "Linux version" not in guest.said()
    finally:
        guest.power_off()


@pytest.mark.usefixtures("image")
def test_a_node_boots_beside_another_server(boot_lab: BootLab, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(NODE, MACS[NODE], "uefi", place)
    try:
        with monkeypatch.context() as inventory:
            inventory.setenv("CLUSTER_GUEST_PROXY", "1")
            with (
                served(boot_lab),
                OtherServer(),
                Client("netboot-client", "52:54:00:77:99:98", "udp port 67 or 68 or 4011") as wire,
            ):
                wire.plug_into_switch()
                guest.power_on()
                came_up(boot_lab, guest)
        assert boot_lab.guest_ssh(NODE, "hostname").stdout.strip() == NODE
        answers = [packet for packet in wire.captured() if packet.port in (67, 4011)]
        assert {packet.offered for packet in answers if packet.source == CONTROL} <= {""}
        assert {packet.offered for packet in answers if packet.source == OTHER_SERVER} <= OTHER_ADDRESSES
    finally:
        guest.power_off()
