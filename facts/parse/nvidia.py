"""`nvidia-smi -q -x` to a `GpuReport`. Pure.

The document's shape is NVIDIA's nvsmi_device DTD; v10 to v13 name power and ECC elements differently and all
are read. What nvidia-smi leaves out, the kernel's driver tells in /proc/driver/nvidia: the cards that it drives.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from typing import cast

from facts.parse.gpu import Gpu, GpuProcess, GpuReport, ToolState, bus_address
from facts.parse.quantity import Readings, is_absent
from facts.parse.sections import Section, parse_sections
from facts.parse.sysfs import by_directory, display_devices, key_values, parse_files

VENDOR_ID = "0x10de"
_NO_DEVICES = "no devices were found"
_BEGIN, _END = "<nvidia_smi_log", "</nvidia_smi_log>"
_LARGEST_COUNT = 2**48
_WATTS, _DEGREES, _LANES, _GENERATIONS = 10_000.0, 150.0, 32, 10


def parse_gpus(output: Iterable[str]) -> GpuReport:
    """The output of `facts.nvidia.Gpus` as a report.

    What can be read of nvidia-smi's document is kept, whatever its exit status; without one, `tool` is "failed" and
    the GPUs are those that the kernel's driver lists. `ValueError` for truncated sections.
    """
    sections = parse_sections(output, "nvidia-smi", "nvidia-smi:compute-capability", "pci")
    query, kernel = sections["nvidia-smi"], sections.get("driver")
    devices = display_devices(parse_files(sections["pci"].lines), VENDOR_ID)
    driven = parse_files(kernel.lines) if kernel else {}
    known_to_kernel = _proc_gpus(driven)
    gpus, head, problem, said = _document(query.text, _capabilities(sections["nvidia-smi:compute-capability"]))
    warnings = [said] if said and head is not None else []
    # Other statuses than 0 come with a whole document: 14 is a corrupted infoROM.
    if head is not None and not query.succeeded:
        warnings.append(f"nvidia-smi exited {query.status}")
    reasons = [problem] if problem and (head is not None or query.succeeded) else []
    state: ToolState = "present" if head is not None and not problem else "failed"
    if query.missing:
        state, reasons = "missing", [f"{query.failure}; NVIDIA devices on the PCI bus: {len(devices)}"]
    elif head is None and not query.succeeded:
        # With a working driver and no GPU it exits 6 and says so; the tool is fine then.
        state = "present" if _NO_DEVICES in query.text.lower() else "failed"
        reasons = [query.failure]
    listed = {gpu.pci_address for gpu in gpus}
    unlisted = [gpu for gpu in known_to_kernel if bus_address(gpu.pci_address) not in map(bus_address, listed)]
    if gpus and unlisted:
        reasons.append(f"nvidia-smi does not list {', '.join(str(gpu.pci_address) for gpu in unlisted)}")
    elif unlisted:
        reasons.append(f"nvidia-smi lists none, the kernel's driver has {len(unlisted)}")
    return GpuReport(
        vendor="nvidia",
        tool=state,
        source="nvidia-smi" if gpus else "procfs" if known_to_kernel else "" if query.missing else "nvidia-smi",
        driver_version=_text(head, "driver_version") if head is not None else None,
        cuda_version=_text(head, "cuda_version") if head is not None else None,
        gpus=gpus or known_to_kernel,
        devices_on_pci_bus=len(devices),
        detail="; ".join(reasons),
        bus_addresses=tuple(devices),
        bus_drivers=tuple(devices.values()),
        loaded_driver_version=_loaded(driven),
        warnings=tuple(warnings),
    )


def parse_gpu(element: ElementTree.Element, index: int, capabilities: dict[str, str]) -> Gpu:
    """One `<gpu>` element. `capabilities` maps PCI address to compute capability ("9.0").

    A field that is not of its kind is None, and `unread` says what was there.
    """
    readings = Readings()
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

    def size(path: str) -> int | None:
        return readings.size(_text(element, path), path)

    def enabled(path: str) -> bool | None:
        return readings.enabled(_text(element, path), path.rpartition("/")[2])

    def count(path: str, most: float) -> int | None:
        return readings.whole(_text(element, path), path.rpartition("/")[2], most=most)

    name = _text(element, "product_name")
    if name is None:
        readings.unread.append("product_name: absent")
    return Gpu(
        index=index,
        vendor="nvidia",
        name=name or "NVIDIA GPU",
        uuid=_text(element, "uuid"),
        pci_address=pci_address.lower() if pci_address else None,
        memory_total_bytes=size(f"{memory}/total"),
        memory_used_bytes=size(f"{memory}/used"),
        memory_free_bytes=size(f"{memory}/free"),
        compute_capability=capabilities.get(bus_address(pci_address) or ""),
        power_limit_watts=readings.number(power_limit, "power limit", most=_WATTS),
        power_draw_watts=readings.number(power_draw, "power draw", most=_WATTS),
        temperature_celsius=readings.number(
            _text(element, "temperature/gpu_temp"), "gpu_temp", least=-50.0, most=_DEGREES
        ),
        utilization_percent=readings.number(_text(element, "utilization/gpu_util"), "gpu_util", most=100.0),
        ecc_enabled=enabled("ecc_mode/current_ecc"),
        ecc_corrected_errors=_ecc_errors(element, readings, corrected=True),
        ecc_uncorrected_errors=_ecc_errors(element, readings, corrected=False),
        memory_repair_pending=_any([enabled("remapped_rows/remapped_row_pending"), enabled(_RETIREMENT)]),
        pcie_generation_current=count(f"{link}/pcie_gen/current_link_gen", _GENERATIONS),
        pcie_generation_max=count(f"{link}/pcie_gen/max_link_gen", _GENERATIONS),
        pcie_width_current=count(f"{link}/link_widths/current_link_width", _LANES),
        pcie_width_max=count(f"{link}/link_widths/max_link_width", _LANES),
        mig_enabled=enabled("mig_mode/current_mig"),
        persistence_enabled=enabled("persistence_mode"),
        processes=tuple(
            process for item in element.findall("processes/process_info") if (process := _process(item, readings))
        ),
        recovery_action=_recovery(element),
        unread=tuple(readings.unread),
    )


_RETIREMENT = "retired_pages/pending_retirement"


def _document(text: str, capabilities: dict[str, str]) -> tuple[tuple[Gpu, ...], ElementTree.Element | None, str, str]:
    """GPUs and the document's head, what is wrong with it, and what stands around it; no head where there is none.

    The whole GPUs of a document that is cut or broken are kept.
    """
    start, end = text.find(_BEGIN), text.rfind(_END)
    if start < 0:
        return (), None, f"nvidia-smi: no {_BEGIN}> in {text.strip()[:120]!r}", ""
    inside = text[start : end + len(_END)] if end > start else text[start:]
    around = f"{_without_declaration(text[:start])} {text[end + len(_END) :] if end > start else ''}"
    problem = "" if end > start else f"nvidia-smi: {_BEGIN}> does not end; the output is truncated at {text[-60:]!r}"
    # Safe: the document type in front is cut off, so there are no entities to expand.
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    head: ElementTree.Element | None = None
    gpus: list[Gpu] = []
    depth = 0
    try:
        parser.feed(inside)
        if not problem:
            parser.close()
    except ElementTree.ParseError as error:
        problem = problem or f"nvidia-smi: its XML cannot be read: {error}"
    try:
        events = cast("Iterator[tuple[str, ElementTree.Element]]", parser.read_events())  # of the two kinds asked for
        for event, element in events:
            head = element if head is None else head
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 1 and element.tag == "gpu":
                gpus.append(parse_gpu(element, len(gpus), capabilities))
    except ElementTree.ParseError as error:
        problem = problem or f"nvidia-smi: its XML cannot be read: {error}"
    return tuple(gpus), head, problem, " ".join(around.split())[:300]


def _without_declaration(text: str) -> str:
    return re.sub(r"<\?xml[^>]*>|<!DOCTYPE[^>]*>", "", text)


def _capabilities(section: Section) -> dict[str, str]:
    # Old drivers do not know the field and fail; then nobody knows the capability.
    if not section.succeeded:
        return {}
    rows = (line.split(",") for line in section.lines if line.count(",") == 1)
    return {
        address: capability.strip()
        for text, capability in rows
        if re.fullmatch(r"\s*\d+\.\d+\s*", capability) and (address := bus_address(text))
    }


def _proc_gpus(driven: dict[str, str]) -> tuple[Gpu, ...]:
    """The cards that the kernel's driver has, from /proc/driver/nvidia/gpus/ADDRESS/information."""
    found: list[Gpu] = []
    for directory, files in by_directory(driven).items():
        if "information" not in files:
            continue
        said = key_values(files["information"], ":")
        uuid, name = said.get("GPU UUID", ""), said.get("Model", "")
        address = bus_address(said.get("Bus Location")) or bus_address(directory.rpartition("/")[2])
        known = name if not is_absent(name) else "NVIDIA GPU"
        found.append(Gpu(len(found), "nvidia", known, uuid if "?" not in uuid and uuid else None, address))
    return tuple(found)


def _loaded(driven: dict[str, str]) -> str | None:
    """Version of the kernel module that is loaded."""
    for path, text in driven.items():
        if path == "/sys/module/nvidia/version" and text.strip():
            return text.strip()
        if path == "/proc/driver/nvidia/version" and (match := re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)):
            return match.group()
    return None


def _ecc_errors(element: ElementTree.Element, readings: Readings, *, corrected: bool) -> int | None:
    counters = element.find("ecc_errors/volatile")
    if counters is None:
        return None
    old = counters.find("single_bit/total" if corrected else "double_bit/total")
    named = [
        counter
        for counter in counters
        if "correctable" in counter.tag and ("uncorrectable" in counter.tag) is not corrected
    ]
    chosen = named if old is None else [old]
    counts = [readings.whole(counter.text, f"ecc_errors/{counter.tag}", most=_LARGEST_COUNT) for counter in chosen]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _any(states: list[bool | None]) -> bool | None:
    known = [state for state in states if state is not None]
    return any(known) if known else None


def _recovery(element: ElementTree.Element) -> str | None:
    """The driver's own word; before there was one, two questions that it answered with yes or no."""
    if action := _text(element, "gpu_recovery_action"):
        return action
    for path in ("gpu_reset_status/reset_required", "gpu_reset_status/drain_and_reset_recommended"):
        if (_text(element, path) or "").lower() == "yes":
            return "Reset"
    return None


def _process(element: ElementTree.Element, readings: Readings) -> GpuProcess | None:
    process_id = readings.whole(_text(element, "pid"), "process_info/pid", least=1)
    if process_id is None:
        return None
    memory = readings.size(_text(element, "used_memory"), f"process {process_id}, used_memory")
    return GpuProcess(process_id, _text(element, "process_name") or "", _text(element, "type") or "", memory)


def _text(element: ElementTree.Element, path: str) -> str | None:
    found = element.findtext(path)
    return None if found is None or is_absent(found) else found.strip()


def _first(element: ElementTree.Element, *paths: str) -> str | None:
    return next((text for text in (_text(element, path) for path in paths) if text is not None), None)
