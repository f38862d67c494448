"""A real DHCP client (busybox udhcpc) in a network namespace of its own, and what is seen on its wire (tcpdump).

The client can say what a boot ROM says (PXE, IPXE): the words are those of the PXE specification 2.1 and of iPXE.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.network import MTU_BYTES, SWITCH_INTERFACE, SWITCH_NAMESPACE, host_namespace

_CARD = "card0"
BOOT_PACKETS = "udp port 67 or 68"
BIOS, UEFI = 0, 7


def pxe(architecture: int) -> tuple[str, ...]:
    """What a firmware's own PXE adds to its questions: vendor class and client architecture (RFC 4578)."""
    return ("-V", f"PXEClient:Arch:{architecture:05}:UNDI:003016", "-x", f"0x5d:{architecture:04x}")


def ipxe(architecture: int) -> tuple[str, ...]:
    """What iPXE adds: the same, its user class, and its own option 175 (here that it speaks HTTP)."""
    return (*pxe(architecture), "-x", f"0x4d:{b'iPXE'.hex()}", "-x", "0xaf:130101")


@dataclass(frozen=True)
class Packet:
    """One packet on the wire: who sent it, from which port, and all that tcpdump reads in it."""

    source: str
    port: int
    text: str = ""

    @property
    def offered(self) -> str:
        """The address that it offers; empty where it offers none."""
        found = re.search(r"Your-IP (\S+)", self.text)
        return found[1] if found else ""

    @property
    def payload(self) -> bytes:
        """What is behind its IPv4 and UDP headers."""
        lines = re.findall(r"^\s+0x[0-9a-f]{4}:\s+(.*)$", self.text, re.MULTILINE)
        return bytes.fromhex("".join(lines).replace(" ", ""))[28:]


class Client:
    """A card with the given MAC address; gone with its namespace at the end of the `with`."""

    def __init__(self, namespace: str, mac: str, listens_to: str = BOOT_PACKETS) -> None:
        self.namespace, self.mac, self.listens_to = namespace, mac, listens_to
        self.capture = Path(f"/tmp/{namespace}.pcap")
        self.listener: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Client:
        _run("ip", "netns", "delete", self.namespace, check=False)
        _run("ip", "netns", "add", self.namespace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        _run("ip", "-n", self.namespace, "link", "delete", _CARD, check=False)
        _run("ip", "netns", "delete", self.namespace)
        self.capture.unlink(missing_ok=True)

    def plug_into_switch(self) -> None:
        """A cable to the cluster's switch."""
        self._cable(SWITCH_NAMESPACE, "v-client")
        _run("ip", "-n", SWITCH_NAMESPACE, "link", "set", "v-client", "master", SWITCH_INTERFACE, "up")

    def plug_into_host(self, host: str, interface: str, address: str) -> None:
        """A cable straight to a second interface of a lab host, with an address there."""
        namespace = host_namespace(host)
        self._cable(namespace, interface)
        _run("ip", "-n", namespace, "address", "add", address, "dev", interface)
        _run("ip", "-n", namespace, "link", "set", interface, "up")

    def _cable(self, namespace: str, other: str) -> None:
        card = [
            "type",
            "veth",
            "peer",
            "name",
            _CARD,
            "mtu",
            str(MTU_BYTES),
            "address",
            self.mac,
            "netns",
            self.namespace,
        ]
        _run("ip", "-n", namespace, "link", "add", other, "mtu", str(MTU_BYTES), *card)
        _run("ip", "-n", self.namespace, "link", "set", _CARD, "up")
        self.listener = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.namespace,
                "tcpdump",
                "-i",
                _CARD,
                "-U",
                "-w",
                str(self.capture),
                self.listens_to,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.listener.stderr is not None
        while b"listening on" not in self.listener.stderr.readline():
            assert self.listener.poll() is None, "tcpdump ended"

    def ask(self) -> str | None:
        """The address that is offered and acknowledged in five tries, or None."""
        return self.answer().get("ip")

    def answer(self, *words: str) -> dict[str, str]:
        """All that the server acknowledged, by udhcpc's names (`ip`, `siaddr`, `boot_file`); empty without an answer.

        `words` are udhcpc's own, such as pxe() makes. The card has the address afterwards.
        """
        script = Path(f"/tmp/{self.namespace}.script")
        script.write_text('#!/bin/sh\n[ "$1" != bound ] || { ip address replace "$ip/24" dev "$interface"; env; }\n')
        script.chmod(0o755)
        try:
            client = ["busybox", "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "1", "-i", _CARD, "-s", str(script)]
            done = self.run(*client, *words)
        finally:
            script.unlink()
        said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        return said if "ip" in said else {}

    def fetch(self, server: str, file: str) -> bytes:
        """A file by TFTP."""
        target = Path(f"/tmp/{self.namespace}.file")
        try:
            got = self.run("busybox", "tftp", "-g", "-r", file, "-l", str(target), server)
            assert got.returncode == 0, got.stderr
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the client's namespace."""
        return _run("ip", "netns", "exec", self.namespace, *command, check=False)

    def captured(self) -> list[Packet]:
        """Packets that crossed this wire, in both directions."""
        time.sleep(1)  # an answer that is late would still count
        self._stop_listening()
        read = _run("tcpdump", "-n", "-vv", "-x", "-r", str(self.capture), check=False)
        packets = re.split(r"^(?=\d\d:\d\d:)", read.stdout, flags=re.MULTILINE)
        found = [(re.search(r"(\d+\.\d+\.\d+\.\d+)\.(\d+) > ", text), text) for text in packets]
        return [Packet(head[1], int(head[2]), text) for head, text in found if head]

    def _stop_listening(self) -> None:
        if self.listener is not None and self.listener.poll() is None:
            self.listener.terminate()
            self.listener.wait(timeout=10)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)
