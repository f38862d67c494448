"""`nvidia-smi -q -x` to a `GpuReport`. Pure.

The document's shape is NVIDIA's nvsmi_device DTD; v10 to v13 name power and ECC elements differently and all
are read.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

from facts.parse.gpu import Gpu, GpuProcess, GpuReport, ToolState
from facts.parse.quantity import enabled, is_absent, number, size_in_bytes, whole_number
from facts.parse.sections import Section, parse_sections
from facts.parse.sysfs import count_display_devices, parse_files

VENDOR_ID = "0x10de"
_NO_DEVICES = "no devices were found"


def parse_gpus(output: Iterable[str]) -> GpuReport:
    """The output of `facts.nvidia.Gpus` as a report.

    Raises `ValueError` when nvidia-smi succeeded but its document cannot be read.
    """
    sections = parse_sections(output, "nvidia-smi", "nvidia-smi:compute-capability", "pci")
    query = sections["nvidia-smi"]
    seen = count_display_devices(parse_files(sections["pci"].lines), VENDOR_ID)
    if query.missing:
        detail = f"{query.failure}; NVIDIA devices on the PCI bus: {seen}"
        return GpuReport("nvidia", "missing", devices_on_pci_bus=seen, detail=detail)
    if not query.succeeded:
        # With a working driver and no GPU it exits 6 and says so; the tool is fine then.
        state: ToolState = "present" if _NO_DEVICES in query.text.lower() else "failed"
        return GpuReport("nvidia", state, "nvidia-smi", devices_on_pci_bus=seen, detail=query.failure)
    root = _document(query.text)
    capabilities = _compute_capabilities(sections["nvidia-smi:compute-capability"])
    return GpuReport(
        vendor="nvidia",
        tool="present",
        source="nvidia-smi",
        driver_version=_text(root, "driver_version"),
        cuda_version=_text(root, "cuda_version"),
        gpus=tuple(parse_gpu(element, index, capabilities) for index, element in enumerate(root.findall("gpu"))),
        devices_on_pci_bus=seen,
    )


def parse_gpu(element: ElementTree.Element, index: int, capabilities: dict[str, str]) -> Gpu:
    """One `<gpu>` element. `capabilities` maps PCI address to compute capability ("9.0").

    Raises `ValueError` when the element has no name or a field is not of its kind.
    """
    where = f"nvidia-smi, gpu {index}"
    name = _text(element, "product_name")
    if name is None:
        raise ValueError(f"{where}: no product_name")
    pci_address = _text(element, "pci/pci_bus_id") or element.get("id")
    link = "pci/pci_gpu_link_info"
    memory = "fb_memory_usage"
    power_limit = _first(
        element,
        "gpu_power_readings/current_power_limit",
        "gpu_power_readings/power_limit",
        "power_readings/power_limit",
        "power_readings/enforced_power_limit",
    )
    power_draw = _first(
        element,
        "gpu_power_readings/instant_power_draw",
        "gpu_power_readings/power_draw",
        "gpu_power_readings/average_power_draw",
        "power_readings/power_draw",
    )
    return Gpu(
        index=index,
        vendor="nvidia",
        name=name,
        uuid=_text(element, "uuid"),
        pci_address=pci_address.lower() if pci_address else None,
        memory_total_bytes=size_in_bytes(_text(element, f"{memory}/total"), f"{where}, {memory}/total"),
        memory_used_bytes=size_in_bytes(_text(element, f"{memory}/used"), f"{where}, {memory}/used"),
        memory_free_bytes=size_in_bytes(_text(element, f"{memory}/free"), f"{where}, {memory}/free"),
        compute_capability=capabilities.get((pci_address or "").lower()),
        power_limit_watts=number(power_limit, f"{where}, power limit"),
        power_draw_watts=number(power_draw, f"{where}, power draw"),
        temperature_celsius=number(_text(element, "temperature/gpu_temp"), f"{where}, gpu_temp"),
        utilization_percent=number(_text(element, "utilization/gpu_util"), f"{where}, gpu_util"),
        ecc_enabled=enabled(_text(element, "ecc_mode/current_ecc"), f"{where}, current_ecc"),
        ecc_corrected_errors=_ecc_errors(element, where, corrected=True),
        ecc_uncorrected_errors=_ecc_errors(element, where, corrected=False),
        memory_repair_pending=_memory_repair_pending(element, where),
        pcie_generation_current=_whole(element, f"{link}/pcie_gen/current_link_gen", where),
        pcie_generation_max=_whole(element, f"{link}/pcie_gen/max_link_gen", where),
        pcie_width_current=_whole(element, f"{link}/link_widths/current_link_width", where),
        pcie_width_max=_whole(element, f"{link}/link_widths/max_link_width", where),
        mig_enabled=enabled(_text(element, "mig_mode/current_mig"), f"{where}, current_mig"),
        persistence_enabled=enabled(_text(element, "persistence_mode"), f"{where}, persistence_mode"),
        processes=tuple(_process(item, where) for item in element.findall("processes/process_info")),
    )


def _document(text: str) -> ElementTree.Element:
    start, end = text.find("<nvidia_smi_log"), text.rfind("</nvidia_smi_log>")
    if start < 0:
        raise ValueError(f"nvidia-smi: no <nvidia_smi_log> in {text.strip()[:120]!r}")
    if end < 0:
        raise ValueError(f"nvidia-smi: <nvidia_smi_log> does not end; the output is truncated at {text[-60:]!r}")
    try:
        # Safe: the document type in front is cut off, so there are no entities to expand.
        return ElementTree.fromstring(text[start : end + len("</nvidia_smi_log>")])  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError(f"nvidia-smi: its XML cannot be read: {error}") from error


def _compute_capabilities(section: Section) -> dict[str, str]:
    # Old drivers do not know the field and fail; then nobody knows the capability.
    if not section.succeeded:
        return {}
    rows = (line.split(",") for line in section.lines if line.count(",") == 1)
    return {address.strip().lower(): capability.strip() for address, capability in rows if not is_absent(capability)}


def _ecc_errors(element: ElementTree.Element, where: str, *, corrected: bool) -> int | None:
    counters = element.find("ecc_errors/volatile")
    if counters is None:
        return None
    old = counters.find("single_bit/total" if corrected else "double_bit/total")
    if old is not None:
        return whole_number(old.text, f"{where}, ecc_errors")
    counts = [
        whole_number(counter.text, f"{where}, ecc_errors/{counter.tag}")
        for counter in counters
        if "correctable" in counter.tag and ("uncorrectable" in counter.tag) is not corrected
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _memory_repair_pending(element: ElementTree.Element, where: str) -> bool | None:
    paths = ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement")
    states = [enabled(_text(element, path), f"{where}, {path}") for path in paths]
    known = [state for state in states if state is not None]
    return any(known) if known else None


def _process(element: ElementTree.Element, where: str) -> GpuProcess:
    process_id = _whole(element, "pid", f"{where}, process_info")
    if process_id is None:
        raise ValueError(f"{where}: a process_info without pid")
    memory = size_in_bytes(_text(element, "used_memory"), f"{where}, process {process_id}, used_memory")
    return GpuProcess(process_id, _text(element, "process_name") or "", _text(element, "type") or "", memory)


def _text(element: ElementTree.Element, path: str) -> str | None:
    found = element.findtext(path)
    return None if found is None or is_absent(found) else found.strip()


def _first(element: ElementTree.Element, *paths: str) -> str | None:
    return next((text for text in (_text(element, path) for path in paths) if text is not None), None)


def _whole(element: ElementTree.Element, path: str, where: str) -> int | None:
    text = _text(element, path)
    return whole_number(text, f"{where}, {path}")
