"""sysfs of the amdxdna driver to an `NpuReport`. Pure.

Source: drivers/accel/amdxdna/amdxdna_sysfs.c of Linux (attributes vbnv, device_type, fw_version of the PCI
device).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.report import Report
from facts.parse.sections import parse_sections
from facts.parse.sysfs import by_directory, key_values, parse_files

VENDOR_ID = "0x1022"
# Phoenix and Hawk Point; Strix, Krackan and Strix Halo (pci_device_id table of amdxdna, pci.ids).
PCI_DEVICE_IDS = ("0x1502", "0x17f0")
NOT_SERVED_REASON = "vLLM has no support for AMD XDNA NPUs; models run on the GPU or the CPU of this host"


@dataclass(frozen=True)
class Npu(Report):
    """One NPU.

    `model` and `firmware_version` are the driver's words ("RyzenAI-npu5", "1.0.0.166"), if it says them.
    """

    name: str
    vendor_id: str
    device_id: str | None
    pci_address: str | None
    model: str | None
    firmware_version: str | None


@dataclass(frozen=True)
class NpuReport(Report):
    """The host's NPUs.

    `devices_on_pci_bus` counts those that the kernel sees, driver or not; `device_nodes` are /dev/accel/*.
    """

    module_loaded: bool
    device_nodes: tuple[str, ...] = ()
    npus: tuple[Npu, ...] = ()
    devices_on_pci_bus: int = 0
    served_by_vllm: bool = False
    served_by_vllm_reason: str = NOT_SERVED_REASON


def parse_npus(output: Iterable[str]) -> NpuReport:
    """The output of `facts.npu.Npus` as a report.

    Raises `ValueError` for output that is cut; what is no sysfs listing is left out.
    """
    sections = parse_sections(output, "nodes", "accel", "pci")
    nodes = tuple(line.strip() for line in sections["nodes"].lines if line.strip())
    pci = by_directory(parse_files(sections["pci"].lines)).values()
    return NpuReport(
        module_loaded="/sys/module/amdxdna" in nodes,
        device_nodes=tuple(node for node in nodes if node.startswith("/dev/accel/")),
        npus=_npus(parse_files(sections["accel"].lines)),
        devices_on_pci_bus=sum(
            device.get("vendor", "").lower() == VENDOR_ID and device.get("device", "").lower() in PCI_DEVICE_IDS
            for device in pci
        ),
    )


def _npus(contents: dict[str, str]) -> tuple[Npu, ...]:
    found: list[Npu] = []
    for directory, device in by_directory(contents).items():
        if device.get("vendor", "").lower() != VENDOR_ID:
            continue  # other makers' accelerators share /sys/class/accel
        found.append(
            Npu(
                name=directory.removesuffix("/device").rpartition("/")[2],
                vendor_id=VENDOR_ID,
                device_id=device.get("device") or None,
                pci_address=key_values(device.get("uevent", ""), "=").get("PCI_SLOT_NAME") or None,
                model=device.get("vbnv") or None,
                firmware_version=device.get("fw_version") or None,
            )
        )
    return tuple(found)
