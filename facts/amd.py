"""AMD GPUs, discrete and integrated. Reads amd-smi, rocm-smi and sysfs; needs no root.

amd-smi and rocm-smi are both asked, because either may be absent or blind (amd-smi has been seen to answer
N/A to everything on gfx1151); sysfs fills what they leave open.
"""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import driver_tool, files, join
from facts.parse.amd import parse_gpus
from facts.parse.gpu import GpuReport

_DEVICE_FILES = (
    "vendor",
    "device",
    "uevent",
    "product_name",
    "unique_id",
    "gpu_busy_percent",
    "mem_info_vram_total",
    "mem_info_vram_used",
    "mem_info_gtt_total",
    "mem_info_gtt_used",
    "current_link_speed",
    "current_link_width",
    "max_link_speed",
    "max_link_width",
    "hwmon/hwmon*/temp1_input",
    "hwmon/hwmon*/power1_cap",
    "hwmon/hwmon*/power1_average",
    "hwmon/hwmon*/power1_input",
)
# Not card*, which also matches connectors (card0-DP-1); those lead to the same device again.
DRM_FILES = tuple(
    f"/sys/class/drm/{card}/device/{name}" for card in ("card[0-9]", "card[0-9][0-9]") for name in _DEVICE_FILES
)
# Three times this is less than what a fact may take.
SECONDS = 20
KFD_FILES = ("/sys/class/kfd/kfd/topology/nodes/*/properties",)
PCI_FILES = tuple(f"/sys/bus/pci/devices/*/{name}" for name in ("vendor", "class", "uevent"))


class Gpus(FactBase[GpuReport]):
    """`GpuReport` of the host's AMD GPUs: gfx target, VRAM and GTT, power, PCIe link.

    `tool="missing"` where neither amd-smi nor rocm-smi is installed; GPUs that the kernel drives are listed
    even then.
    """

    def command(self) -> str:
        return join(
            driver_tool("amd-smi:static", ("amd-smi", "static", "--json"), SECONDS),
            driver_tool("amd-smi:metric", ("amd-smi", "metric", "--json"), SECONDS),
            driver_tool(
                "rocm-smi",
                (
                    "rocm-smi",
                    "--showproductname",
                    "--showbus",
                    "--showdriverversion",
                    "--showmeminfo",
                    "vram",
                    "gtt",
                    "--json",
                ),
                SECONDS,
            ),
            files("drm", DRM_FILES),
            files("kfd", KFD_FILES),
            files("pci", PCI_FILES),
        )

    @fails_alone
    def process(self, output: list[str]) -> GpuReport:
        return parse_gpus(output)
