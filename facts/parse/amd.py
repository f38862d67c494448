"""amd-smi, rocm-smi and sysfs to one `GpuReport`. Pure.

The best source that answers names the GPUs; the others fill what it leaves open, matched by PCI address.
Shapes: `amd-smi ... --json` is a list of GPUs up to ROCm 6.4 and {"gpu_data": [...]} after it; a quantity is
{"value": 8176, "unit": "MB"}, a bare number, or "N/A". `rocm-smi --json` is {"card0": {"VRAM Total Memory
(B)": "..."}}.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from facts.parse.amd_sysfs import parse_sysfs_gpus, pcie_generation
from facts.parse.gpu import Gpu, GpuReport, ToolState
from facts.parse.quantity import is_absent, number, size_in_bytes, whole_number
from facts.parse.sections import Section, parse_sections
from facts.parse.sysfs import count_display_devices, parse_files, parse_json

VENDOR_ID = "0x1002"


def parse_gpus(output: Iterable[str]) -> GpuReport:
    """The output of `facts.amd.Gpus` as a report.

    A tool that fails or prints no JSON is passed over, and `detail` says why. Raises `ValueError` for
    truncated output, and for JSON whose values are not what they are named.
    """
    sections = parse_sections(output, "amd-smi:static", "amd-smi:metric", "rocm-smi", "drm", "kfd", "pci")
    static, rocm = sections["amd-smi:static"], sections["rocm-smi"]
    known_to_kernel = parse_sysfs_gpus(parse_files(sections["drm"].lines), parse_files(sections["kfd"].lines))
    seen = count_display_devices(parse_files(sections["pci"].lines), VENDOR_ID)
    reasons: list[str] = []

    def report(tool: ToolState, source: str, gpus: tuple[Gpu, ...], driver: str | None) -> GpuReport:
        return GpuReport("amd", tool, source, driver, None, gpus, seen, "; ".join(reasons))

    static_json = _json(static, reasons)
    if static_json is not None:
        metric_json = _json(sections["amd-smi:metric"], reasons)
        gpus = parse_amd_smi(static_json, metric_json)
        return report("present", "amd-smi", _filled(gpus, known_to_kernel), _driver_version(static_json))
    if rocm.succeeded and "no amd gpus" in rocm.text.lower() and "{" not in rocm.text:
        return report("present", "rocm-smi", (), None)
    rocm_json = _json(rocm, reasons)
    if rocm_json is not None:
        gpus, driver = parse_rocm_smi(rocm_json)
        return report("present", "rocm-smi", _filled(gpus, known_to_kernel), driver)
    state: ToolState = "missing" if static.missing and rocm.missing else "failed"
    reasons.append(f"AMD display devices on the PCI bus: {seen}")
    return report(state, "sysfs" if known_to_kernel else "", known_to_kernel, None)


def parse_amd_smi(static: Any, metric: Any) -> tuple[Gpu, ...]:
    """GPUs from the JSON of `amd-smi static` and, when not None, `amd-smi metric`; joined by their `gpu`
    number.

    Raises `ValueError` when a GPU has no number.
    """
    metrics = {_gpu_number(entry): entry for entry in _entries(metric)}
    return tuple(_amd_smi_gpu(entry, metrics.get(_gpu_number(entry), {})) for entry in _entries(static))


def parse_rocm_smi(document: Any) -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and driver version from the JSON of `rocm-smi`; key names differ in case between versions.

    Raises `ValueError` when it is no JSON object or a size is no number.
    """
    if not isinstance(document, dict):
        raise ValueError(f"rocm-smi: a JSON object was expected, not {type(document).__name__}")
    gpus: list[Gpu] = []
    driver: str | None = None
    for card, values in document.items():
        if not isinstance(values, dict):
            raise ValueError(f"rocm-smi, {card}: a JSON object was expected, not {type(values).__name__}")
        texts = {str(key).casefold(): str(value) for key, value in values.items()}
        driver = texts.get("driver version", driver)
        if not (card.startswith("card") and card[4:].isdigit()):
            continue
        vram = _total_and_used(texts, "vram", card)
        gtt = _total_and_used(texts, "gtt", card)
        names = (texts.get(key) for key in ("card series", "device name", "card model"))
        gfx = texts.get("gfx version")
        gpus.append(
            Gpu(
                index=int(card[4:]),
                vendor="amd",
                name=next((name for name in names if not is_absent(name) and name), card),
                uuid=_known(texts.get("unique id")),
                pci_address=_lower(texts.get("pci bus")),
                memory_total_bytes=vram[0],
                memory_used_bytes=vram[1],
                memory_free_bytes=_difference(*vram),
                gtt_total_bytes=gtt[0],
                gtt_used_bytes=gtt[1],
                gtt_free_bytes=_difference(*gtt),
                gfx_target=gfx if gfx and gfx.startswith("gfx") else None,
            )
        )
    return tuple(sorted(gpus, key=lambda gpu: gpu.index)), driver


def _amd_smi_gpu(static: dict[str, Any], metric: dict[str, Any]) -> Gpu:
    index = _gpu_number(static)
    where = f"amd-smi, gpu {index}"
    gfx = _at(static, "asic", "target_graphics_version")
    total = _first_size(where, _at(metric, "mem_usage", "total_vram"), _at(static, "vram", "size"))
    used = _first_size(where, _at(metric, "mem_usage", "used_vram"))
    gtt_total = _first_size(where, _at(metric, "mem_usage", "total_gtt"))
    gtt_used = _first_size(where, _at(metric, "mem_usage", "used_gtt"))
    # An integrated GPU without a limit of its own is said to have 0 W.
    limit = (
        _first_number(
            where,
            _at(static, "limit", "socket_power"),
            _at(static, "limit", "ppt0", "socket_power_limit"),
            _at(static, "limit", "max_power"),
        )
        or None
    )
    return Gpu(
        index=index,
        vendor="amd",
        name=_known(_at(static, "asic", "market_name")) or _known(_at(static, "board", "product_name")) or "AMD GPU",
        uuid=_known(_at(static, "asic", "asic_serial")),
        pci_address=_lower(_at(static, "bus", "bdf")),
        memory_total_bytes=total,
        memory_used_bytes=used,
        memory_free_bytes=_first_size(where, _at(metric, "mem_usage", "free_vram")) or _difference(total, used),
        gtt_total_bytes=gtt_total,
        gtt_used_bytes=gtt_used,
        gtt_free_bytes=_difference(gtt_total, gtt_used),
        gfx_target=gfx if isinstance(gfx, str) and gfx.startswith("gfx") else None,
        power_limit_watts=limit,
        power_draw_watts=_first_number(where, _at(metric, "power", "socket_power")),
        temperature_celsius=_first_number(
            where, _at(metric, "temperature", "hotspot"), _at(metric, "temperature", "edge")
        ),
        utilization_percent=_first_number(where, _at(metric, "usage", "gfx_activity")),
        ecc_corrected_errors=_count(_at(metric, "ecc", "total_correctable_count"), where),
        ecc_uncorrected_errors=_count(_at(metric, "ecc", "total_uncorrectable_count"), where),
        pcie_generation_current=pcie_generation(_first_number(where, _at(metric, "pcie", "speed"))),
        pcie_generation_max=pcie_generation(_first_number(where, _at(static, "bus", "max_pcie_speed"))),
        pcie_width_current=_count(_at(metric, "pcie", "width"), where),
        pcie_width_max=_count(_at(static, "bus", "max_pcie_width"), where),
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


def _entries(document: Any) -> list[dict[str, Any]]:
    listed = document.get("gpu_data", []) if isinstance(document, dict) else document
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ValueError("amd-smi: a list of GPUs was expected")
    return [entry for entry in listed if "gpu" in entry or "asic" in entry]


def _gpu_number(entry: dict[str, Any]) -> int:
    value = entry.get("gpu")
    if not isinstance(value, int):
        raise ValueError(f"amd-smi: a GPU has the number {value!r}")
    return value


def _driver_version(static: Any) -> str | None:
    versions = (
        _known(_at(entry, "driver", key)) for entry in _entries(static) for key in ("version", "driver_version")
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
        return None if inner is None else f"{inner} {value.get('unit') or default_unit}".strip()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return f"{value} {default_unit}".strip() if isinstance(value, (int, float)) else value


def _first_size(where: str, *values: Any) -> int | None:
    texts = (_quantity_text(value, "MB") for value in values)
    return next((size_in_bytes(text, where) for text in texts if not _absent_quantity(text)), None)


def _first_number(where: str, *values: Any) -> float | None:
    texts = (_quantity_text(value, "") for value in values)
    return next((number(text, where) for text in texts if not _absent_quantity(text)), None)


def _absent_quantity(text: str | None) -> bool:
    # {"value": "N/A", "unit": "MB"} occurs as well as a bare "N/A".
    return text is None or is_absent(text) or text.startswith("N/A")


def _count(value: Any, where: str) -> int | None:
    text = _quantity_text(value, "")
    return None if _absent_quantity(text) else whole_number(text, where)


def _total_and_used(texts: dict[str, str], pool: str, card: str) -> tuple[int | None, int | None]:
    keys = (f"{pool} total memory (b)", f"{pool} total used memory (b)")
    total, used = (size_in_bytes(texts.get(key), f"rocm-smi, {card}, {key}") for key in keys)
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
    by_address = {other.pci_address: other for other in others if other.pci_address}
    only = others[0] if len(gpus) == len(others) == 1 else None
    filled: list[Gpu] = []
    for gpu in gpus:
        other = by_address.get(gpu.pci_address) if gpu.pci_address else only
        gaps = [field.name for field in fields(gpu) if getattr(gpu, field.name) is None]
        filled.append(replace(gpu, **{name: getattr(other, name) for name in gaps}) if other else gpu)
    return tuple(filled)
