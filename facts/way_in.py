"""How the operator's connection comes to a host, from the host's own point of view. Reads only; more with root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts import script
from facts.base import fails_alone
from facts.parse.way_in import WayInReport, parse_way_in


class WayIn(FactBase[WayInReport]):
    """`WayInReport`; `found_ports` is the name of the set of the firewall's that holds ports found before."""

    def command(self, found_ports: str) -> str:
        return script.command("way_in", found_ports)

    @fails_alone
    def process(self, output: list[str]) -> WayInReport:
        return parse_way_in(output)
