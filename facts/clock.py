"""The host's clock. Reads `date` and `timedatectl`; needs no root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import join, section, tool
from facts.parse.clock import ClockReport, parse_clock


class Clock(FactBase[ClockReport]):
    """`ClockReport`: seconds since the epoch at the moment of reading, and whether the clock is synchronised.

    For a skew, take the reader's own time before and after the fact; the true difference lies within that
    window.
    """

    def command(self) -> str:
        return join(
            tool("timedatectl", ("timedatectl", "show", "-p", "NTPSynchronized", "--value")),
            section("date", "date +%s.%N"),
        )

    @fails_alone
    def process(self, output: list[str]) -> ClockReport:
        return parse_clock(output)


class TimeService(FactBase[str]):
    """Name of the time service that is enabled on the host, or an empty string."""

    def command(self) -> str:
        units = "systemd-timesyncd chrony chronyd ntp ntpsec openntpd"
        return (
            f"echo time; for unit in {units}; do "
            'systemctl is-enabled -q "$unit" 2>/dev/null && { echo "unit $unit"; break; }; done; true'
        )

    def process(self, output: list[str]) -> str:
        return next((line.removeprefix("unit ") for line in output if line.startswith("unit ")), "")
