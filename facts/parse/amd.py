"""amd-smi, rocm-smi and sysfs to one `GpuReport`. Pure.

The best source that answers names the GPUs; the others fill what it leaves open, matched by PCI address.
Shapes: `amd-smi ... --json` is a list of GPUs up to ROCm 6.4 and {"gpu_data": [...]} after it; a quantity is
{"value": 8176, "unit": "MB"}, a bare number, or "N/A". `rocm-smi --json` is {"card0": {"VRAM Total Memory
(B)": "..."}}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from facts.parse.amd_sysfs import DEGREES, LANES, WATTS, parse_sysfs_gpus, pcie_generation
from facts.parse.gpu import Gpu, GpuReport, ToolState, bus_address
from facts.parse.quantity import Readings, is_absent
from facts.parse.sections import Section, parse_sections
from facts.parse.sysfs import display_devices, parse_files, parse_json

VENDOR_ID = "0x1002"
LARGEST_COUNT = 2**48


def parse_gpus(output: Iterable[str]) -> GpuReport:
    """The output of `facts.amd.Gpus` as a report.

    A tool that fails or prints no JSON is passed over, and `detail` says why. A tool that lists fewer GPUs than the
    kernel drives is not believed: the kernel's are added. `ValueError` for truncated sections.
    """
    sections = parse_sections(output, "amd-smi:static", "amd-smi:metric", "rocm-smi", "drm", "kfd", "pci")
    static, rocm = sections["amd-smi:static"], sections["rocm-smi"]
    known_to_kernel = parse_sysfs_gpus(parse_files(sections["drm"].lines), parse_files(sections["kfd"].lines))
    devices = display_devices(parse_files(sections["pci"].lines), VENDOR_ID)
    reasons: list[str] = []
    tool: ToolState = "present"
    gpus: tuple[Gpu, ...] | None = None
    source, driver = "amd-smi", None
    static_json = _json(static, reasons)
    if static_json is not None and _entries(static_json, reasons) is not None:
        gpus = parse_amd_smi(static_json, _json(sections["amd-smi:metric"], reasons), reasons)
        driver = _driver_version(static_json)
    if not gpus:
        rocm_json = None if rocm.succeeded and "{" not in rocm.text and _none_here(rocm) else _json(rocm, reasons)
        if rocm_json is not None:
            found, rocm_driver = parse_rocm_smi(rocm_json, reasons)
            if found or gpus is None:
                gpus, driver, source = found, rocm_driver or driver, "rocm-smi"
        elif gpus is None and rocm.succeeded and _none_here(rocm):
            gpus, source = (), "rocm-smi"
    if gpus is None:
        tool = "missing" if static.missing and rocm.missing else "failed"
        reasons.append(f"AMD display devices on the PCI bus: {len(devices)}")
        gpus, source = (), ""
    listed = _filled(gpus, known_to_kernel)
    unlisted = _unlisted(gpus, known_to_kernel)
    if unlisted and tool == "present":
        where = ", ".join(gpu.pci_address or gpu.name for gpu in unlisted)
        reasons.append(f"{source} does not list {where}" if gpus else f"{source} lists none, the kernel drives {where}")
    first = max((gpu.index for gpu in listed), default=-1) + 1
    listed += tuple(replace(gpu, index=first + place) for place, gpu in enumerate(unlisted))
    return GpuReport(
        vendor="amd",
        tool=tool,
        source=source if gpus or not known_to_kernel else "sysfs",
        driver_version=driver,
        gpus=listed,
        devices_on_pci_bus=len(devices),
        detail="; ".join(reasons),
        bus_addresses=tuple(devices),
        bus_drivers=tuple(devices.values()),
    )


def _none_here(rocm: Section) -> bool:
    return "no amd gpus" in rocm.text.lower()


def parse_amd_smi(static: Any, metric: Any, reasons: list[str] | None = None) -> tuple[Gpu, ...]:
    """GPUs from the JSON of `amd-smi static` and, when not None, `amd-smi metric`; joined by their `gpu` number.

    `reasons` gets what is wrong with a document; without a number an entry is the one at its place.
    """
    told: list[str] = [] if reasons is None else reasons
    metrics = {_gpu_number(entry, at): entry for at, entry in enumerate(_entries(metric, told) or ())}
    return tuple(
        _amd_smi_gpu(entry, metrics.get(_gpu_number(entry, at), {}), _gpu_number(entry, at))
        for at, entry in enumerate(_entries(static, told) or ())
    )


def parse_rocm_smi(document: Any, reasons: list[str] | None = None) -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and driver version from the JSON of `rocm-smi`; key names differ in case between versions."""
    told: list[str] = [] if reasons is None else reasons
    if not isinstance(document, dict):
        told.append(f"rocm-smi: a JSON object was expected, not {type(document).__name__}")
        return (), None
    gpus: list[Gpu] = []
    driver: str | None = None
    for card, values in document.items():
        if not isinstance(values, dict):
            told.append(f"rocm-smi, {card[:40]}: a JSON object was expected, not {type(values).__name__}")
            continue
        texts = {str(key).casefold(): str(value) for key, value in values.items()}
        driver = _known(texts.get("driver version")) or driver
        if not re.fullmatch(r"card\d{1,3}", card):
            continue
        readings = Readings()
        vram = _total_and_used(texts, "vram", readings)
        gtt = _total_and_used(texts, "gtt", readings)
        names = (_known(texts.get(key)) for key in ("card series", "device name", "card model"))
        gfx = texts.get("gfx version")
        gpus.append(
            Gpu(
                index=int(card[4:]),
                vendor="amd",
                name=next(filter(None, names), card),
                uuid=_known(texts.get("unique id")),
                pci_address=_lower(texts.get("pci bus")),
                memory_total_bytes=vram[0],
                memory_used_bytes=vram[1],
                memory_free_bytes=_difference(*vram),
                gtt_total_bytes=gtt[0],
                gtt_used_bytes=gtt[1],
                gtt_free_bytes=_difference(*gtt),
                gfx_target=gfx if gfx and gfx.startswith("gfx") else None,
                unread=tuple(readings.unread),
            )
        )
    return tuple(sorted(gpus, key=lambda gpu: gpu.index)), driver


def _amd_smi_gpu(static: dict[str, Any], metric: dict[str, Any], index: int) -> Gpu:
    readings = Readings()
    gfx = _at(static, "asic", "target_graphics_version")
    total = _first_size(readings, "vram", _at(metric, "mem_usage", "total_vram"), _at(static, "vram", "size"))
    used = _first_size(readings, "used_vram", _at(metric, "mem_usage", "used_vram"))
    free = _first_size(readings, "free_vram", _at(metric, "mem_usage", "free_vram"))
    gtt_total = _first_size(readings, "total_gtt", _at(metric, "mem_usage", "total_gtt"))
    gtt_used = _first_size(readings, "used_gtt", _at(metric, "mem_usage", "used_gtt"))

    def first(field: str, *values: Any, least: float = 0.0, most: float = WATTS) -> float | None:
        texts = [text for value in values if (text := _quantity_text(value, "")) is not None]
        found = (readings.number(text, field, least=least, most=most) for text in texts)
        return next((value for value in found if value is not None), None)

    def count(field: str, value: Any, most: float) -> int | None:
        return readings.whole(_quantity_text(value, ""), field, most=most)

    # An integrated GPU without a limit of its own is said to have 0 W.
    limit = first(
        "power limit",
        _at(static, "limit", "socket_power"),
        _at(static, "limit", "ppt0", "socket_power_limit"),
        _at(static, "limit", "max_power"),
    )
    return Gpu(
        index=index,
        vendor="amd",
        name=_known(_at(static, "asic", "market_name")) or _known(_at(static, "board", "product_name")) or "AMD GPU",
        uuid=_known(_at(static, "asic", "asic_serial")),
        pci_address=_lower(_at(static, "bus", "bdf")),
        memory_total_bytes=total,
        memory_used_bytes=used,
        memory_free_bytes=free if free is not None else _difference(total, used),
        gtt_total_bytes=gtt_total,
        gtt_used_bytes=gtt_used,
        gtt_free_bytes=_difference(gtt_total, gtt_used),
        gfx_target=gfx if isinstance(gfx, str) and gfx.startswith("gfx") else None,
        power_limit_watts=limit or None,
        power_draw_watts=first("socket_power", _at(metric, "power", "socket_power")),
        temperature_celsius=first(
            "temperature",
            _at(metric, "temperature", "hotspot"),
            _at(metric, "temperature", "edge"),
            least=-50.0,
            most=DEGREES,
        ),
        utilization_percent=first("gfx_activity", _at(metric, "usage", "gfx_activity"), most=100.0),
        ecc_corrected_errors=count("correctable", _at(metric, "ecc", "total_correctable_count"), LARGEST_COUNT),
        ecc_uncorrected_errors=count("uncorrectable", _at(metric, "ecc", "total_uncorrectable_count"), LARGEST_COUNT),
        pcie_generation_current=pcie_generation(first("pcie speed", _at(metric, "pcie", "speed"))),
        pcie_generation_max=pcie_generation(first("max_pcie_speed", _at(static, "bus", "max_pcie_speed"))),
        pcie_width_current=count("pcie width", _at(metric, "pcie", "width"), LANES),
        pcie_width_max=count("max_pcie_width", _at(static, "bus", "max_pcie_width"), LANES),
        unread=tuple(readings.unread),
    )


def _json(section: Section, reasons: list[str]) -> Any:
    if not section.succeeded:
        reasons.append(section.failure)
        return None
    try:
        return parse_json(section.text, section.name)
    except ValueError as error:
        reasons.append(str(error))
        return None


def _entries(document: Any, reasons: list[str]) -> list[dict[str, Any]] | None:
    """The GPUs of a document; None where it is of another shape."""
    listed = document.get("gpu_data", []) if isinstance(document, dict) else document
    if listed is None:
        return []
    if not isinstance(listed, list):
        reasons.append(f"amd-smi: a list of GPUs was expected, not {type(listed).__name__}")
        return None
    entries = [entry for entry in listed if isinstance(entry, dict)]
    if len(entries) < len(listed):
        reasons.append(f"amd-smi: {len(listed) - len(entries)} of {len(listed)} entries are no GPU")
    return [entry for entry in entries if "gpu" in entry or "asic" in entry]


def _gpu_number(entry: dict[str, Any], place: int) -> int:
    text = str(entry.get("gpu"))
    return int(text) if re.fullmatch(r"\d{1,3}", text) else place


def _driver_version(static: Any) -> str | None:
    versions = (
        _known(_at(entry, "driver", key))
        for entry in _entries(static, []) or ()
        for key in ("version", "driver_version")
    )
    return next((version for version in versions if version), None)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _quantity_text(value: Any, default_unit: str) -> str | None:
    """A quantity of amd-smi as "NUMBER UNIT"; None for "N/A" and for what is no quantity."""
    if isinstance(value, dict):
        inner = value.get("value")
        if inner is None or (isinstance(inner, str) and is_absent(inner)):
            return None  # {"value": "N/A", "unit": "MB"} occurs as well as a bare "N/A"
        return f"{inner} {value.get('unit') or default_unit}".strip()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return f"{value} {default_unit}".strip() if isinstance(value, (int, float)) else value


def _first_size(readings: Readings, field: str, *values: Any) -> int | None:
    texts = [text for value in values if (text := _quantity_text(value, "MB")) is not None]
    found = (readings.size(text, field) for text in texts)
    return next((size for size in found if size is not None), None)


def _total_and_used(texts: dict[str, str], pool: str, readings: Readings) -> tuple[int | None, int | None]:
    keys = (f"{pool} total memory (b)", f"{pool} total used memory (b)")
    total, used = (readings.size(texts.get(key), key) for key in keys)
    return total, used


def _difference(total: int | None, used: int | None) -> int | None:
    return None if total is None or used is None else max(total - used, 0)


def _known(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and not is_absent(value) else None


def _lower(value: Any) -> str | None:
    known = _known(value)
    return known.lower() if known else None


def _filled(gpus: tuple[Gpu, ...], others: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Each GPU with its None fields taken from the one of `others` at the same PCI address.

    Without addresses, two lists of one GPU each are the same GPU.
    """
    by_address = {bus_address(other.pci_address): other for other in others if bus_address(other.pci_address)}
    only = others[0] if len(gpus) == len(others) == 1 else None
    filled: list[Gpu] = []
    for gpu in gpus:
        address = bus_address(gpu.pci_address)
        other = by_address.get(address) if address else only
        gaps = [field.name for field in fields(gpu) if getattr(gpu, field.name) is None]
        filled.append(replace(gpu, **{name: getattr(other, name) for name in gaps}) if other else gpu)
    return tuple(filled)


def _unlisted(gpus: tuple[Gpu, ...], known_to_kernel: tuple[Gpu, ...]) -> list[Gpu]:
    """Those that the kernel drives and a tool does not list; a tool that gives no addresses is believed."""
    listed = {bus_address(gpu.pci_address) for gpu in gpus}
    if None in listed:
        return []
    return [gpu for gpu in known_to_kernel if bus_address(gpu.pci_address) not in listed]
