"""Machines with empty disks boot from the lab's control host, are who they should be, and are configured over SSH.

Nothing here is simulated but the machines: firmware, DHCP, TFTP, HTTP, kernel, initrd and root are the real ones. The
order matters and is that of the file: a boot takes minutes on a busy machine, so there is one, which shows it all.
Ten boots in a row are `benchmarks/netboot.py boots`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploys.faults import commands
from deploys.faults.catalogue import kind_of, parameters_of
from deploys.faults.commands import Command, Order
from experiments.boot_lab.lab import INVENTORY, BootLab
from lab.guests import BOOT_SECONDS, MACS, Guest, in_switch
from operate import clusters
from tests.netboot.dhcp import Client

pytestmark = pytest.mark.lab

UNKNOWN_MAC = "52:54:00:77:99:99"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 (the source of who has none yet)
MakeGuest = Callable[[str, str], Guest]


@dataclass(frozen=True)
class Refused:
    """While the BIOS guest refused a corrupt image: the control node's word, the console, whether ssh got in."""

    event: str
    console: str
    reachable: bool


@dataclass(frozen=True)
class Boot:
    """The one boot of these tests: both guests, and what the image's way to the BIOS guest was."""

    guests: dict[str, Guest]
    image_bytes: int
    refused: Refused


@pytest.fixture(scope="module")
def boot(boot_lab: BootLab, image: Path, guests: MakeGuest) -> Boot:
    """A BIOS and a UEFI guest, switched on when `cluster up` asks for it; up when ssh with their pinned keys works.

    On the way of the BIOS guest the server is restarted in mid-transfer, and what arrives is corrupt, then mended.
    """
    both = {guest.name: guest for guest in (guests("compute-bios", "bios"), guests("compute-uefi", "uefi"))}
    both["compute-uefi"].local_disk_bytes = 64 * 1024**2
    bios = both["compute-bios"]
    root = f"/var/lib/cluster/images/{image.name}/root.squashfs"
    content = (image / "root.squashfs").read_bytes()
    size, byte = len(content), content[len(content) // 2]
    command = ("-c", INVENTORY, "up", "--only", "boot", "--boot-seconds", str(BOOT_SECONDS), "--json")
    with boot_lab.started(*command) as up:
        assert up.stderr is not None
        line = next((line for line in up.stderr if "switch on" in line), "")
        for guest in both.values():
            assert f"{guest.name} ({guest.mac})" in line, up.communicate(timeout=60)
        boot_lab.ssh("control", _put_byte(root, size // 2, byte ^ 0xFF))
        try:
            for guest in both.values():
                guest.power_on()
            # Slow enough that there is a mid-transfer; the kernel and the initrd are small.
            in_switch(*f"tc qdisc add dev {bios.tap} root tbf rate 60mbit burst 64kb latency 200ms".split())
            bios.wait_for("Run /init as init process")
            _wait_until(lambda: _last_event(boot_lab, bios.name) == "start", 300)
            time.sleep(3)  # into the transfer; it takes twenty seconds at this rate
            boot_lab.ssh("control", "systemctl restart cluster-netboot-http")
            bios.wait_for(f"of {size} bytes after try 1; again")
            in_switch(*f"tc qdisc delete dev {bios.tap} root".split())
            bios.wait_for(f"image {image.name} refused: root.squashfs has sha256")
            event, console = _last_event(boot_lab, bios.name), bios.said()
            refused = Refused(event, console, boot_lab.guest_ssh(bios.name, "true", seconds=30).status == 0)
        finally:
            boot_lab.ssh("control", _put_byte(root, size // 2, byte))
        stdout, stderr = up.communicate(timeout=BOOT_SECONDS + 120)
    ends = {name: guest.said()[-800:] for name, guest in both.items()}
    assert up.returncode == 0, f"{stderr}\n{ends}"
    phases = [entry["phase"] for entry in json.loads(stdout)["phases"]]
    assert phases == ["look", "control", "image", "power", "boot"]
    return Boot(both, size, refused)


@pytest.fixture(scope="module")
def booted(boot: Boot) -> dict[str, Guest]:
    """Both guests, up."""
    return boot.guests


def test_an_unknown_card_gets_nothing_and_a_known_one_its_address(boot_lab: BootLab) -> None:
    with Client("netboot-client", MACS["compute-bios"]) as known:
        known.plug_into_switch()
        assert known.ask() == "10.77.0.101"
    with Client("netboot-client", UNKNOWN_MAC) as unknown:
        unknown.plug_into_switch()
        assert unknown.ask() is None
        assert {packet.source for packet in unknown.captured()} == {NO_ADDRESS}, "only its own questions"


def test_the_other_interface_of_the_control_node_stays_silent(boot_lab: BootLab) -> None:
    with Client("netboot-client", MACS["compute-bios"]) as client:
        # An address of the same network, of which the DHCP server has its range: it could answer here, and may not.
        client.plug_into_host("control", "other0", "10.77.0.201/30")
        assert boot_lab.ssh("control", "ip -brief address show other0").stdout.split()[1:3] == ["UP", "10.77.0.201/30"]
        assert client.ask() is None
        packets = client.captured()
        assert packets, "the questions were seen on the wire"
        assert {packet.source for packet in packets} == {NO_ADDRESS}
    assert "10.77.0.201" not in boot_lab.ssh("control", "ss -lnutp | grep -E 'dnsmasq|nginx'").stdout


def test_two_guests_come_up_with_their_names(boot_lab: BootLab, booted: dict[str, Guest], image: Path) -> None:
    for name in booted:
        seen = boot_lab.guest_ssh(
            name, "hostname; cat /proc/cmdline; findmnt -no FSTYPE,SOURCE /; lsblk -dno NAME,FSTYPE"
        )
        assert seen.status == 0, seen.stderr
        host_name, command_line, root, *disks = seen.stdout.splitlines()
        assert host_name == name
        assert f"cluster.image={image.name}" in command_line
        assert root.split() == ["overlay", "cluster-root"]
        assert "vda" in [disk.split()[0] for disk in disks if len(disk.split()) == 1], "its disk stayed empty"
    assert "EFI" in boot_lab.guest_ssh("compute-uefi", "ls -d /sys/firmware/efi && echo EFI").stdout
    assert "EFI" not in boot_lab.guest_ssh("compute-bios", "ls -d /sys/firmware/efi && echo EFI").stdout


def test_local_storage_is_mounted_where_there_is_one(boot_lab: BootLab, booted: dict[str, Guest]) -> None:
    ask = "for path in /opt/cluster /var/lib/cluster/models; do findmnt -no SOURCE $path || echo none; done"
    assert boot_lab.guest_ssh("compute-uefi", ask).stdout.split() == ["/dev/vdb[/opt]", "/dev/vdb[/models]"]
    assert boot_lab.guest_ssh("compute-bios", ask).stdout.split() == ["none", "none"]


def test_host_keys_are_the_control_nodes(boot_lab: BootLab, booted: dict[str, Guest]) -> None:
    kept = "/var/lib/cluster-netboot/http/identity/{}/ssh_host_ed25519_key.pub"
    for name in booted:
        there = boot_lab.guest_ssh(name, "cat /etc/ssh/ssh_host_ed25519_key.pub; ls /etc/ssh").stdout
        assert there.splitlines()[0] == boot_lab.ssh("control", f"cat {kept.format(name)}").stdout.strip()
        assert there.count("ssh_host_") == 2, "no other key was made"
    url = "http://10.77.0.1:8780/identity"
    assert "403" in boot_lab.guest_ssh("compute-bios", _status(f"{url}/compute-uefi/ssh_host_ed25519_key")).stdout
    assert "200" in boot_lab.guest_ssh("compute-bios", _status(f"{url}/compute-bios/ssh_host_ed25519_key")).stdout


def test_base_is_applied_over_ssh(boot_lab: BootLab, booted: dict[str, Guest]) -> None:
    # One of the two: an emulated processor takes minutes for it, and the other would take as many.
    line = ("-y", "--json", INVENTORY, "deploys/compute_base/alone.py", "--limit", "compute-uefi")
    first = boot_lab.run(*line, program="pyinfra", seconds=1200)
    assert first.status == 0, first.stderr[-3000:]
    assert "Managed by cluster" in boot_lab.guest_ssh("compute-uefi", "cat /etc/hosts").stdout
    assert "rules_" in boot_lab.guest_ssh("compute-uefi", "nft list table inet cluster").stdout


@pytest.mark.skipif(
    not os.environ.get("CLUSTER_TEST_OTHER_BOOTS"), reason="two minutes more; CLUSTER_TEST_OTHER_BOOTS=1 runs it"
)
def test_debians_kernel_delays_loses_and_narrows_by_netem_and_heals_by_its_timer(
    boot_lab: BootLab, booted: dict[str, Guest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults of the network as on real hosts: the lab's own kernel has no netem, this one is Debian's."""
    monkeypatch.setenv("CLUSTER_HOME", str(boot_lab.home))
    node = "compute-uefi"
    settings = {host.name: host.settings for host in clusters.read(INVENTORY).hosts}[node]
    interface = settings.network.interface

    def sent(command: Command) -> dict[str, Any]:
        done = boot_lab.guest_ssh(node, command.line, stdin=command.stdin)
        assert done.status == 0, done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def connect_seconds() -> float:
        ask = (
            "import socket, statistics, time; seconds = []\n"
            "for _ in range(9):\n"
            "    began = time.monotonic(); socket.create_connection(('10.77.0.1', 8780), 20).close()\n"
            "    seconds.append(time.monotonic() - began)\n"
            "print(statistics.median(seconds))"
        )
        return float(boot_lab.guest_ssh(node, "python3 -", stdin=ask).stdout)

    before = connect_seconds()
    for name, given in (
        ("network-delay", {"delay_milliseconds": 400.0}),
        ("network-loss", {"percent": 1.0}),
        ("network-rate", {"megabits_per_second": 5.0}),
    ):
        order = Order(name, 120, parameters_of(kind_of(name), given))
        said = sent(commands.inject(settings, order, "another system"))
        assert said["armed"] and said["made"]["means"] == ("tc htb" if name == "network-rate" else "tc netem")
    shown = boot_lab.guest_ssh(node, f"tc qdisc show dev {interface}; tc class show dev {interface}").stdout
    assert "delay 400ms loss 1%" in shown and "rate 5Mbit" in shown, shown
    assert connect_seconds() > before + 0.35
    assert sent(commands.heal(settings, "network-rate"))["by"] == "controller"
    # Nobody undoes the other two.
    _wait_until(lambda: not sent(commands.look(settings, "another system"))["active"], 400)
    over = sent(commands.look(settings, "another system"))
    assert over["left"] == {}
    assert {entry["name"]: entry["by"] for entry in over["history"]} == {
        "network-delay": "timer",
        "network-loss": "timer",
        "network-rate": "controller",
    }
    assert " 1fa: " not in boot_lab.guest_ssh(node, f"tc qdisc show dev {interface}").stdout
    assert connect_seconds() < before + 0.3


def test_a_second_setup_of_the_boot_server_changes_nothing(boot_lab: BootLab, image: Path) -> None:
    again = boot_lab.netboot("serve")
    assert again.status == 0, again.stderr
    assert "0 changes on control, 0 host keys pinned here" in again.stderr
    assert "is there, whole" in boot_lab.netboot("push", str(image)).stderr


def test_restarted_server_and_corrupt_image_cost_retries_only(boot_lab: BootLab, boot: Boot) -> None:
    assert f"of {boot.image_bytes} bytes after try 1; again" in boot.refused.console
    assert "after try 2" not in boot.refused.console, "the second try went on where the first was cut"
    assert boot.refused.event == "refused"
    assert not boot.refused.reachable, "nothing was mounted, so nobody is there"
    assert _last_event(boot_lab, "compute-bios") == "mounted"


def test_choice_and_rollback_are_seen_and_bad_ones_refused(boot_lab: BootLab, image: Path) -> None:
    refused = boot_lab.netboot("use", "none-ffffffffffffffff")
    assert refused.status == 2
    assert "image none-ffffffffffffffff is not on control (" in refused.complaint
    assert image.name in refused.complaint
    assert boot_lab.netboot("use", "../../../etc").status == 2
    assert boot_lab.netboot("use", image.name, "--node", "compute9").status == 2
    if boot_lab.netboot("status", "--json").json["nodes"]["compute-bios"]["previous"] is None:  # a lab that is not kept
        without = boot_lab.netboot("rollback")
        assert without.status == 2
        assert "no image before this one" in without.complaint
    found = boot_lab.netboot("status", "--json").json
    assert {entry["image"] for entry in found["nodes"].values()} == {image.name}
    assert found["stale"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("compute-bios: 52:54:00:77:00:65\ncompute-uefi: 52:54:00:77:00:65\n", "both have the MAC address"),
        ("compute-bios: 52-54\n", "is not six pairs"),
    ],
)
def test_bad_machines_stop_before_anything_changes(boot_lab: BootLab, text: str, said: str) -> None:
    file = boot_lab.home / "netboot" / "machines.yaml"
    before = file.read_text()
    file.write_text(text)
    try:
        done = boot_lab.netboot("serve")
    finally:
        file.write_text(before)
    assert done.status == 2
    assert said in done.complaint


def _status(url: str) -> str:
    code = "import sys, urllib.request, urllib.error"
    ask = f"urllib.request.urlopen({url!r}).status"
    return f'python3 -c "{code}\ntry: print({ask})\nexcept urllib.error.HTTPError as e: print(e.code)"'


def _put_byte(path: str, offset: int, byte: int) -> str:
    return f"printf '\\{byte:03o}' | dd of={path} bs=1 seek={offset} conv=notrunc status=none"


def _last_event(boot_lab: BootLab, node: str) -> str:
    last = boot_lab.netboot("status", "--json").json["nodes"][node]["last"]
    return str(last["event"]) if last else ""


def _wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s"
        time.sleep(1)
