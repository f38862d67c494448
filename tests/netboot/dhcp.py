"""A real DHCP client (busybox udhcpc) in a network namespace of its own, and what is seen on its wire (tcpdump)."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.network import MTU_BYTES, SWITCH_INTERFACE, SWITCH_NAMESPACE, host_namespace

_CARD = "card0"


@dataclass(frozen=True)
class Packet:
    """One DHCP packet on the wire: who sent it, from which port."""

    source: str
    port: int


class Client:
    """A card with the given MAC address; gone with its namespace at the end of the `with`."""

    def __init__(self, namespace: str, mac: str) -> None:
        self.namespace, self.mac = namespace, mac
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
                "udp port 67 or 68",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.listener.stderr is not None
        while b"listening on" not in self.listener.stderr.readline():
            assert self.listener.poll() is None, "tcpdump ended"

    def ask(self) -> str | None:
        """The address that is offered and acknowledged in five tries, or None."""
        script = Path(f"/tmp/{self.namespace}.script")
        script.write_text('#!/bin/sh\n[ "$1" != bound ] || echo "bound $ip"\n')
        script.chmod(0o755)
        try:
            client = ["busybox", "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "1", "-i", _CARD, "-s", str(script)]
            done = _run("ip", "netns", "exec", self.namespace, *client, check=False)
        finally:
            script.unlink()
        found = re.search(r"^bound (\S+)$", done.stdout, re.MULTILINE)
        return found[1] if found else None

    def captured(self) -> list[Packet]:
        """DHCP packets that crossed this wire, in both directions."""
        time.sleep(1)  # an answer that is late would still count
        self._stop_listening()
        read = _run("tcpdump", "-n", "-r", str(self.capture), check=False)
        sources = re.findall(r" IP (\d+\.\d+\.\d+\.\d+)\.(\d+) > ", read.stdout)
        return [Packet(address, int(port)) for address, port in sources]

    def _stop_listening(self) -> None:
        if self.listener is not None and self.listener.poll() is None:
            self.listener.terminate()
            self.listener.wait(timeout=10)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)
