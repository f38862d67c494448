"""What a GPU report holds, for every vendor. Pure; bytes, watts, degrees Celsius, PCIe lanes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from facts.parse.report import Report

_BUS_ADDRESS = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
ToolState = Literal["missing", "present", "failed"]


@dataclass(frozen=True)
class GpuProcess(Report):
    """A process that holds memory of a GPU. `kind` is the tool's letter: C compute, G graphics."""

    process_id: int
    name: str
    kind: str
    memory_used_bytes: int | None


@dataclass(frozen=True)
class Gpu(Report):
    """One GPU. None: the tool does not say (no ECC on consumer parts, no memory figures on some APUs).

    `memory_*` is the GPU's own memory (VRAM; on an integrated GPU the part that firmware carved out). `gtt_*`
    is host memory that an AMD GPU may map besides; only on an integrated GPU is it as good as its own.
    `ecc_*_errors` count since the driver was loaded. `pcie_*_current` may fall while a GPU idles: that is
    power saving. `recovery_action` is what the driver asks for to have the GPU work again ("Reset"), None for nothing.
    `unread` has a reason for each field that the source gives and that is no value ("gpu_temp: 'GPU requires reset'").
    """

    index: int
    vendor: Literal["nvidia", "amd"]
    name: str
    uuid: str | None = None
    pci_address: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    gtt_total_bytes: int | None = None
    gtt_used_bytes: int | None = None
    gtt_free_bytes: int | None = None
    compute_capability: str | None = None
    gfx_target: str | None = None
    power_limit_watts: float | None = None
    power_draw_watts: float | None = None
    temperature_celsius: float | None = None
    utilization_percent: float | None = None
    ecc_enabled: bool | None = None
    ecc_corrected_errors: int | None = None
    ecc_uncorrected_errors: int | None = None
    memory_repair_pending: bool | None = None
    pcie_generation_current: int | None = None
    pcie_generation_max: int | None = None
    pcie_width_current: int | None = None
    pcie_width_max: int | None = None
    mig_enabled: bool | None = None
    persistence_enabled: bool | None = None
    processes: tuple[GpuProcess, ...] = ()
    recovery_action: str | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuReport(Report):
    """The GPUs of one vendor on a host.

    - `tool`: "missing": the vendor's tool is not installed, so nothing follows from an empty `gpus`;
      "failed": it is installed and gave no answer, `detail` says why (usually: the driver is not loaded);
      "present": it answered, and an empty `gpus` means that there is no GPU.
    - `source`: what the GPUs were read from: nvidia-smi, amd-smi, rocm-smi, sysfs, or "" for nothing.
    - `devices_on_pci_bus`: display devices of this vendor that the kernel sees, driver or not; `bus_addresses` are
      theirs, and `bus_drivers` the kernel drivers that hold them, in the same order ("" for none).
    - `loaded_driver_version`: of the kernel's module, where that can be read beside the tool.
    - `warnings`: what the tool said beside its answer.
    """

    vendor: Literal["nvidia", "amd"]
    tool: ToolState
    source: str = ""
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    devices_on_pci_bus: int = 0
    detail: str = ""
    bus_addresses: tuple[str, ...] = ()
    bus_drivers: tuple[str, ...] = ()
    loaded_driver_version: str | None = None
    warnings: tuple[str, ...] = ()


def bus_address(text: str | None) -> str | None:
    """A PCI address as the kernel writes it: "00000000:41:00.0" and "41:00.0" are 0000:41:00.0; None for none."""
    match = _BUS_ADDRESS.fullmatch((text or "").strip().lower())
    return f"{int(match[1] or '0', 16):04x}:{match[2]}:{match[3]}.{match[4]}" if match else None
