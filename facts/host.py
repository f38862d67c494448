"""What the host is: distribution, kernel, Python, virtualisation, init. Needs no root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import join, section, tool
from facts.parse.host import HostReport, parse_host


class Host(FactBase[HostReport]):
    """`HostReport` of the host."""

    def command(self) -> str:
        return join(
            section("os-release", "cat /etc/os-release 2>&1 || cat /usr/lib/os-release 2>&1"),
            section("uname", "uname -n; uname -r; uname -m"),
            tool("python3", ("/usr/bin/python3", "--version")),
            tool("systemd-detect-virt", ("systemd-detect-virt",)),
            section("systemd", "test -d /run/systemd/system"),
        )

    @fails_alone
    def process(self, output: list[str]) -> HostReport:
        return parse_host(output)
