"""NVIDIA GPUs and how they are connected. Reads `nvidia-smi`; needs no root."""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import driver_tool, files, join, tool
from facts.parse.gpu import GpuReport
from facts.parse.nvidia import parse_gpus
from facts.parse.topology import TopologyReport, parse_topology

PCI_FILES = tuple(f"/sys/bus/pci/devices/*/{name}" for name in ("vendor", "class", "uevent"))
# Twice this is less than what a fact may take; a driver that is loaded anew for each question takes its time.
SECONDS = 30
DRIVER_FILES = ("/sys/module/nvidia/version", "/proc/driver/nvidia/version", "/proc/driver/nvidia/gpus/*/information")


class Gpus(FactBase[GpuReport]):
    """`GpuReport` of the host's NVIDIA GPUs: memory, driver, power, ECC, PCIe link, processes.

    `tool="missing"` where nvidia-smi is not installed, "failed" where it cannot reach the driver. Cards that the
    kernel's driver has are listed even then.
    """

    def command(self) -> str:
        return join(
            driver_tool("nvidia-smi", ("nvidia-smi", "-q", "-x"), SECONDS),
            driver_tool(
                "nvidia-smi:compute-capability",
                ("nvidia-smi", "--query-gpu=pci.bus_id,compute_cap", "--format=csv,noheader"),
                SECONDS,
            ),
            files("driver", DRIVER_FILES),
            files("pci", PCI_FILES),
        )

    @fails_alone
    def process(self, output: list[str]) -> GpuReport:
        return parse_gpus(output)


class Topology(FactBase[TopologyReport]):
    """`TopologyReport`: how each pair of GPUs is connected (`nvidia-smi topo -m`)."""

    def command(self) -> str:
        return join(tool("nvidia-smi:topology", ("nvidia-smi", "topo", "-m")))

    @fails_alone
    def process(self, output: list[str]) -> TopologyReport:
        return parse_topology(output)
