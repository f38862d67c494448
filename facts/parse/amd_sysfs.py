"""AMD GPUs as the kernel shows them: /sys/class/drm and the KFD topology. Pure.

Sources: the kernel's amdgpu documentation (mem_info_vram_total, mem_info_gtt_total: bytes), hwmon's sysfs
interface (millidegrees, microwatts), and `gfx_target_version` of KFD: major * 10000 + minor * 100 + stepping.
"""

from __future__ import annotations

import re

from facts.parse.gpu import Gpu
from facts.parse.quantity import Readings
from facts.parse.sysfs import by_directory, key_values

VENDOR_ID = "0x1002"
WATTS, DEGREES, LANES = 10_000.0, 150.0, 32
"""What lies beyond is no reading of a card: drivers write such numbers for "unknown"."""
_GENERATION_OF_SPEED = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}


def gfx_target(version: int) -> str | None:
    """KFD's number as the compiler's name: 110002 is gfx1102, 110501 gfx1151, 90010 gfx90a.

    None for 0, a CPU.

    Raises `ValueError` for a number that is no version.
    """
    if version == 0:
        return None
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    if version < 0 or major == 0 or minor > 15 or stepping > 15:
        raise ValueError(f"KFD: gfx_target_version {version} is no graphics version")
    return f"gfx{major}{minor:x}{stepping:x}"


def pcie_generation(gigatransfers_per_second: float | None) -> int | None:
    """The PCIe generation of a link speed (16 GT/s is 4), None for a speed of none."""
    return None if gigatransfers_per_second is None else _GENERATION_OF_SPEED.get(gigatransfers_per_second)


def parse_sysfs_gpus(drm: dict[str, str], kfd: dict[str, str]) -> tuple[Gpu, ...]:
    """GPUs of vendor 0x1002, in the order of their DRM cards; `index` counts them from 0.

    `drm` and `kfd` are contents by path. What is no number is None, and the GPU's `unread` says what was there.
    """
    targets = _targets_by_address(kfd)
    directories = by_directory(drm)
    gpus: list[Gpu] = []
    for directory, device in directories.items():
        if device.get("vendor", "").lower() != VENDOR_ID:
            continue
        readings = Readings()
        uevent = key_values(device.get("uevent", ""), "=")
        address = uevent.get("PCI_SLOT_NAME", "").lower() or None
        sensors = _sensors(directories, directory)
        total, used = _bytes(device, readings, "vram")
        gtt_total, gtt_used = _bytes(device, readings, "gtt")
        model = device.get("product_name") or f"AMD GPU {device.get('device', '')}".strip()
        draw = _scaled(sensors, "power1_average", readings, 1e6, most=WATTS)
        drawn = draw if draw is not None else _scaled(sensors, "power1_input", readings, 1e6, most=WATTS)
        gpus.append(
            Gpu(
                index=len(gpus),
                vendor="amd",
                name=model,
                uuid=device.get("unique_id") or None,
                pci_address=address,
                memory_total_bytes=total,
                memory_used_bytes=used,
                memory_free_bytes=None if total is None or used is None else max(total - used, 0),
                gtt_total_bytes=gtt_total,
                gtt_used_bytes=gtt_used,
                gtt_free_bytes=None if gtt_total is None or gtt_used is None else max(gtt_total - gtt_used, 0),
                gfx_target=targets.get(address or "") or (_only(targets) if address is None else None),
                power_limit_watts=_scaled(sensors, "power1_cap", readings, 1e6, most=WATTS),
                power_draw_watts=drawn,
                temperature_celsius=_scaled(sensors, "temp1_input", readings, 1e3, least=-50.0, most=DEGREES),
                utilization_percent=readings.number(device.get("gpu_busy_percent"), "gpu_busy_percent", most=100.0),
                pcie_generation_current=pcie_generation(_speed(device, "current_link_speed")),
                pcie_generation_max=pcie_generation(_speed(device, "max_link_speed")),
                pcie_width_current=_width(device, "current_link_width"),
                pcie_width_max=_width(device, "max_link_width"),
                unread=tuple(readings.unread),
            )
        )
    return tuple(gpus)


def _targets_by_address(kfd: dict[str, str]) -> dict[str, str]:
    targets: dict[str, str] = {}
    for path, text in kfd.items():
        values = key_values(text, " ")
        readings = Readings()
        version = readings.whole(values.get("gfx_target_version"), "gfx_target_version")
        location = readings.whole(values.get("location_id"), "location_id")
        domain = readings.whole(values.get("domain"), "domain") or 0
        try:
            target = gfx_target(version) if version is not None else None
        except ValueError:
            continue  # of a kernel that counts in another way: nobody knows the target
        if target is None:
            continue
        if location is None:
            targets[path] = target
            continue
        bus, device, function = location >> 8 & 0xFF, location >> 3 & 0x1F, location & 0x7
        targets[f"{domain:04x}:{bus:02x}:{device:02x}.{function}"] = target
    return targets


def _only(targets: dict[str, str]) -> str | None:
    return next(iter(targets.values())) if len(targets) == 1 else None


def _sensors(directories: dict[str, dict[str, str]], device: str) -> dict[str, str]:
    inside = (values for path, values in directories.items() if path.startswith(f"{device}/hwmon/"))
    return next(inside, {})


def _bytes(device: dict[str, str], readings: Readings, pool: str) -> tuple[int | None, int | None]:
    names = (f"mem_info_{pool}_total", f"mem_info_{pool}_used")
    total, used = (readings.size(device.get(name), name) for name in names)
    return total, used


def _scaled(
    sensors: dict[str, str], name: str, readings: Readings, divisor: float, *, least: float = 0.0, most: float
) -> float | None:
    value = readings.number(sensors.get(name), name, least=least * divisor, most=most * divisor)
    return None if value is None else value / divisor


def _speed(device: dict[str, str], name: str) -> float | None:
    # "16.0 GT/s PCIe", or "Unknown" behind some bridges.
    first = device.get(name, "").split(" ")[0]
    return float(first) if re.fullmatch(r"\d{1,4}(\.\d{1,4})?", first) else None


def _width(device: dict[str, str], name: str) -> int | None:
    # An unconnected or internal link reads 0 or 255.
    text = device.get(name, "")
    width = int(text) if re.fullmatch(r"\d{1,4}", text) else 0
    return width if 0 < width <= LANES else None
