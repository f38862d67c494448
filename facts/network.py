"""Interfaces, names and listening ports of the host. Reads `ip`, `getent`, /proc and sysfs; needs no root.

Without root, `Listening` still knows every port, but names only the caller's own processes.
"""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument, files, join, section, tool
from facts.parse.listening import ListeningReport, parse_listening
from facts.parse.network import InterfacesReport, ResolutionReport, parse_interfaces, parse_resolution

NET_FILES = tuple(f"/sys/class/net/*/{name}" for name in ("address", "mtu", "operstate", "speed", "device/uevent"))


class Interfaces(FactBase[InterfacesReport]):
    """`InterfacesReport`: every network interface with addresses, MTU, speed and driver.

    Where `ip` is not installed (`tool="missing"`) the interfaces come from sysfs and have no addresses.
    """

    def command(self) -> str:
        return join(tool("ip", ("ip", "-j", "address", "show")), files("net", NET_FILES))

    @fails_alone
    def process(self, output: list[str]) -> InterfacesReport:
        return parse_interfaces(output)


class Resolution(FactBase[ResolutionReport]):
    """`ResolutionReport`: what a host name resolves to on this host; without an argument, the host's own
    name.
    """

    def command(self, host_name: str = "") -> str:
        name = argument(host_name) if host_name else '"$(uname -n)"'
        return join(
            section("name", f"echo {name}"),
            section("getent", f"timeout 15 getent ahosts {name} 2>&1", only_with="getent"),
        )

    @fails_alone
    def process(self, output: list[str]) -> ResolutionReport:
        return parse_resolution(output)


class Listening(FactBase[ListeningReport]):
    """`ListeningReport`:

    TCP ports that accept connections (/proc/net/tcp*), with the process where `ss` may name it.
    """

    def command(self) -> str:
        return join(
            section("tcp", "cat /proc/net/tcp 2>&1"),
            # IPv6 may be switched off; then the file does not exist and there is nothing to listen on.
            section("tcp6", "cat /proc/net/tcp6 2>/dev/null"),
            tool("ss", ("ss", "-ltnpH")),
        )

    @fails_alone
    def process(self, output: list[str]) -> ListeningReport:
        return parse_listening(output)
