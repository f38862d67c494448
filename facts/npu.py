"""AMD XDNA NPUs (Ryzen AI): whether they are there, and that vLLM does not use them.

Reads sysfs; needs no root.
"""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import files, join, section
from facts.parse.npu import NpuReport, parse_npus

_DEVICE_FILES = ("vendor", "device", "uevent", "vbnv", "fw_version")
ACCEL_FILES = tuple(f"/sys/class/accel/accel*/device/{name}" for name in _DEVICE_FILES)
PCI_FILES = ("/sys/bus/pci/devices/*/vendor", "/sys/bus/pci/devices/*/device")


class Npus(FactBase[NpuReport]):
    """`NpuReport`: driver, devices and firmware of the host's AMD NPUs, and `served_by_vllm=False` with the
    reason.
    """

    def command(self) -> str:
        return join(
            section("nodes", "ls -d /sys/module/amdxdna /dev/accel/accel* 2>/dev/null"),
            files("accel", ACCEL_FILES),
            files("pci", PCI_FILES),
        )

    @fails_alone
    def process(self, output: list[str]) -> NpuReport:
        return parse_npus(output)
