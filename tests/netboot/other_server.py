"""Somebody else's DHCP server (dnsmasq) on the lab's switch: it hands out addresses and knows nothing of booting."""

from __future__ import annotations

import subprocess
from types import TracebackType

from lab.network import MTU_BYTES, SWITCH_INTERFACE, SWITCH_NAMESPACE

OTHER_SERVER = "10.77.0.250"
OTHER_ADDRESSES = {f"10.77.0.{last}" for last in range(150, 161)}
_NAMESPACE, _CARD, _CABLE = "netboot-dhcp", "card0", "v-dhcp"


class OtherServer:
    """The server in a network namespace of its own; gone at the end of the `with`."""

    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OtherServer:
        _run("ip", "netns", "delete", _NAMESPACE, check=False)
        _run("ip", "netns", "add", _NAMESPACE)
        pair = ["type", "veth", "peer", "name", _CARD, "mtu", str(MTU_BYTES), "netns", _NAMESPACE]
        _run("ip", "-n", SWITCH_NAMESPACE, "link", "add", _CABLE, "mtu", str(MTU_BYTES), *pair)
        _run("ip", "-n", SWITCH_NAMESPACE, "link", "set", _CABLE, "master", SWITCH_INTERFACE, "up")
        _run("ip", "-n", _NAMESPACE, "address", "add", f"{OTHER_SERVER}/24", "dev", _CARD)
        _run("ip", "-n", _NAMESPACE, "link", "set", _CARD, "up")
        words = ["--conf-file=/dev/null", "--port=0", "--keep-in-foreground", "--pid-file", "--log-facility=-"]
        words += [f"--interface={_CARD}", "--bind-interfaces", "--dhcp-leasefile=/dev/null", "--log-dhcp"]
        words += ["--dhcp-range=10.77.0.150,10.77.0.160,255.255.255.0,1h"]
        command = ["ip", "netns", "exec", _NAMESPACE, "dnsmasq", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        while b"DHCP" not in (line := self.process.stderr.readline()):
            assert line or self.process.poll() is None, "dnsmasq ended"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=10)
        _run("ip", "-n", _NAMESPACE, "link", "delete", _CARD, check=False)
        _run("ip", "netns", "delete", _NAMESPACE)


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, capture_output=True, timeout=60, check=check)
