"""The host's CPU and the data type it computes fast in. Reads `lscpu` or /proc/cpuinfo; needs no root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import join, section, tool
from facts.parse.cpu import CpuReport, parse_cpu


class Cpu(FactBase[CpuReport]):
    """`CpuReport`: model, sockets, cores, threads, and the recommended data type with its reason."""

    def command(self) -> str:
        return join(
            tool("lscpu", ("lscpu", "-J")),
            # Long on a large host, so only where lscpu is of no use.
            section("cpuinfo", "lscpu -J 2>/dev/null | grep -q '\"CPU(s):\"' || cat /proc/cpuinfo 2>&1"),
            section("machine", "uname -m"),
        )

    @fails_alone
    def process(self, output: list[str]) -> CpuReport:
        return parse_cpu(output)
