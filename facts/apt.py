"""What apt is set up to install from. Reads its configuration only; needs neither root nor a network."""

from __future__ import annotations

from pyinfra.api.facts import FactBase


class Sources(FactBase[list[str]]):
    """Suite and component of each source of packages, as in "bookworm main"; empty without apt."""

    def command(self) -> str:
        targets = "apt-get indextargets --format 'source $(RELEASE) $(COMPONENT)' 'Created-By: Packages'"
        return f"echo sources; timeout 30 {targets} 2>/dev/null | sort -u; true"

    def process(self, output: list[str]) -> list[str]:
        return [line.removeprefix("source ") for line in output if line.startswith("source ")]
