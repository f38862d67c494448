"""Judgements over a `GpuReport`, and over those of several nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from facts.health.result import PREPARE_AGAIN, CheckResult
from facts.parse.gpu import Gpu, GpuReport, bus_address

MAXIMUM_TEMPERATURE_CELSIUS = 90.0
GIBIBYTE = 1 << 30
LEAST_MEMORY_SHARE = 0.9
_DRIVERS = ("nvidia", "amdgpu", "nouveau", "radeon")
# nvidia-smi's words in place of a value.
_BROKEN = re.compile(r"requires reset|gpu is lost|fallen off the bus", re.IGNORECASE)
BUSY_UTILIZATION_PERCENT = 20.0
"""Above this a GPU is at work, and a slow PCIe generation is no longer power saving."""


def gpu_checks(
    node: str,
    report: GpuReport,
    *,
    expected_count: int,
    minimum_driver_version: str | None = None,
    maximum_temperature_celsius: float = MAXIMUM_TEMPERATURE_CELSIUS,
    expected_memory_bytes: int = 0,
) -> list[CheckResult]:
    """All judgements over one vendor's GPUs of a node.

    `minimum_driver_version` is dotted ("550" or "550.54.14"), None for any; `expected_memory_bytes` of each card, 0
    where it shares the system's. Without an answer from the tool the only results are those on its presence, on the bus
    and on the count.
    """
    results = standing_checks(node, report, expected_count=expected_count, expected_memory_bytes=expected_memory_bytes)
    if minimum_driver_version is not None:
        results.append(driver_check(node, report, minimum_driver_version))
    results += [CheckResult("gpu_warning", None, f"{node}: {report.source} warns: {said}") for said in report.warnings]
    for gpu in report.gpus:
        if gpu.unread:
            said = f"{name_of(gpu)} has {len(gpu.unread)} readings that are none: {'; '.join(gpu.unread[:4])}"
            results.append(CheckResult("gpu_readings", None, f"{node}: {said}", "see the card in the vendor's tool"))
        results += [link_width_check(node, gpu), link_generation_check(node, gpu)]
        results.append(temperature_check(node, gpu, maximum_temperature_celsius))
    return results


def standing_checks(
    node: str, report: GpuReport, *, expected_count: int, expected_memory_bytes: int = 0
) -> list[CheckResult]:
    """Whether the declared cards are there and can be used: what `up` looks at first, and `verify` again."""
    results = [tool_check(node, report), count_check(node, report, expected_count), *bus_checks(node, report)]
    for gpu in report.gpus:
        results += [*state_checks(node, gpu), *ecc_checks(node, gpu)]
        if expected_memory_bytes and gpu.memory_total_bytes is not None:
            results.append(memory_check(node, gpu, expected_memory_bytes))
    return results


def of_target(report: GpuReport, target: str) -> GpuReport:
    """The report with only the GPUs of `target` ("gfx1102", "sm_89"; "" for any) and those that do not say theirs.

    A desktop CPU's own small GPU, or a second card for the screen, is listed beside the one that computes.
    """
    if not target:
        return report
    kept = [gpu for gpu in report.gpus if (known := _target(gpu)) is None or known == target]
    others = {bus_address(gpu.pci_address) for gpu in report.gpus if gpu not in kept}
    bus = [pair for pair in zip(report.bus_addresses, report.bus_drivers, strict=True) if pair[0] not in others]
    return replace(
        report,
        gpus=tuple(kept),
        devices_on_pci_bus=report.devices_on_pci_bus - (len(report.bus_addresses) - len(bus)),
        bus_addresses=tuple(address for address, _ in bus),
        bus_drivers=tuple(driver for _, driver in bus),
    )


def _target(gpu: Gpu) -> str | None:
    if gpu.compute_capability:
        return f"sm_{gpu.compute_capability.replace('.', '')}"
    return gpu.gfx_target


def name_of(gpu: Gpu) -> str:
    """A card as an operator finds it: number, model, place on the bus."""
    return f"GPU {gpu.index} ({', '.join(filter(None, (gpu.name, gpu.pci_address)))})"


def tool_check(node: str, report: GpuReport) -> CheckResult:
    """Whether the vendor's tool answers, and lists what the kernel drives. Missing without such a device is fine."""
    if report.tool == "present" and report.source == "procfs":
        detail = f"{node}: {report.detail}: no program can use these cards"
        return CheckResult(
            "gpu_tool", False, detail, f"reboot {node}; if it stays so, see dmesg there for NVRM and Xid"
        )
    if report.tool == "present" and ("lists none" in report.detail or "does not list" in report.detail):
        return CheckResult("gpu_tool", None, f"{node}: {report.detail}", f"see dmesg on {node}")
    if report.tool == "present":
        return CheckResult("gpu_tool", True, f"{node}: {report.source} answers")
    if report.tool == "missing" and report.source == "sysfs":
        # The kernel's own driver is enough: ROCm comes with the engine's runtime.
        return CheckResult("gpu_tool", True, f"{node}: the kernel drives {len(report.gpus)} {report.vendor} GPUs")
    if report.tool == "missing" and report.devices_on_pci_bus == 0 and not report.gpus:
        return CheckResult("gpu_tool", True, f"{node}: no {report.vendor} GPU, and no {report.vendor} tool")
    if "version mismatch" in report.detail.lower():
        loaded = f" (the loaded module is {report.loaded_driver_version})" if report.loaded_driver_version else ""
        detail = f"{node}: driver and library of {report.vendor} are of two versions{loaded}: {report.detail}"
        remedy = f"reboot {node}, which loads the installed driver, and keep the driver out of unattended upgrades"
        return CheckResult("gpu_tool", False, detail, remedy)
    state = "is not installed" if report.tool == "missing" else "does not answer"
    remedy = PREPARE_AGAIN if report.tool == "missing" else f"{PREPARE_AGAIN}, reboot {node}, and see dmesg there"
    return CheckResult("gpu_tool", False, f"{node}: the {report.vendor} tool {state}: {report.detail}", remedy)


def count_check(node: str, report: GpuReport, expected_count: int) -> CheckResult:
    """Whether the node has the GPUs that the inventory says; None when the tool could not tell."""
    count = len(report.gpus)
    detail = f"{node}: {count} {report.vendor} GPUs, {expected_count} expected"
    if count == expected_count:
        return CheckResult("gpu_count", True, detail)
    seen = report.devices_on_pci_bus
    if report.tool != "present" and not report.gpus and seen >= expected_count:
        return CheckResult(
            "gpu_count", None, f"{detail}; the tool is {report.tool}, the PCI bus has {seen}", PREPARE_AGAIN
        )
    remedy = "correct the hardware profile" if count > expected_count else "check power, seating and dmesg"
    return CheckResult("gpu_count", False, detail, remedy)


def bus_checks(node: str, report: GpuReport) -> list[CheckResult]:
    """A card that is on the PCI bus and that an answering tool does not list: lost, or given to another driver."""
    if report.tool != "present":
        return []
    listed = {bus_address(gpu.pci_address) for gpu in report.gpus}
    if None in listed:
        return []
    results = []
    for address, driver in zip(report.bus_addresses, report.bus_drivers, strict=True):
        if bus_address(address) in listed:
            continue
        where = f"{node}: the {report.vendor} card at {address} is on the PCI bus and {report.source} has it not"
        if driver and driver not in _DRIVERS:
            remedy = f"give it back to the vendor's driver on {node}, or leave it out of the hardware profile"
            results.append(CheckResult("gpu_bus", None, f"{where}: the driver {driver} holds it", remedy))
            continue
        remedy = f"see dmesg on {node} (Xid 79: fallen off the bus), reboot it, and check power and seating of the card"
        results.append(CheckResult("gpu_bus", False, where, remedy))
    return results


def state_checks(node: str, gpu: Gpu) -> list[CheckResult]:
    """Whether a card can be used, and as a whole; no result where nothing speaks against it."""
    results = []
    said = next((text for text in gpu.unread if _BROKEN.search(text)), "")
    if said or gpu.recovery_action:
        lost = "lost" in said.lower() or gpu.recovery_action == "Reboot"
        why = said or f"the driver asks for: {gpu.recovery_action}"
        what = "is lost to its driver" if lost else "needs a reset"
        remedy = f"stop what runs on it, then `nvidia-smi --gpu-reset -i {gpu.index}` on {node}, or reboot it"
        results.append(
            CheckResult(
                "gpu_state", False, f"{node}: {name_of(gpu)} {what}: {why}", f"reboot {node}" if lost else remedy
            )
        )
    if gpu.mig_enabled:
        detail = f"{node}: {name_of(gpu)} is in MIG mode: no engine can use it as a whole"
        remedy = f"stop what runs on it, then `nvidia-smi -i {gpu.index} -mig 0` on {node}"
        results.append(CheckResult("gpu_mig", False, detail, remedy))
    return results


def memory_check(node: str, gpu: Gpu, expected_bytes: int) -> CheckResult:
    """Whether a card has the memory that its part is said to have; drivers keep some of it for themselves."""
    total = gpu.memory_total_bytes or 0
    detail = f"{node}: {name_of(gpu)} has {total / GIBIBYTE:.1f} GiB, {expected_bytes / GIBIBYTE:.1f} expected"
    holds = total >= LEAST_MEMORY_SHARE * expected_bytes
    return CheckResult("gpu_memory", holds, detail, "" if holds else "correct the hardware profile: another card")


def agreement_check(versions: Mapping[str, str], vendor: str) -> CheckResult:
    """Whether the driver is of one version on all nodes: an engine over several fails, or hangs, where it is not.

    `versions` by node, of those that told theirs.
    """
    found = sorted(set(versions.values()), key=version_numbers)
    if len(found) < 2:
        return CheckResult("gpu_drivers", True, f"the {vendor} driver is {found[0] if found else 'not known'} on all")
    told = "; ".join(
        f"{version} on {', '.join(sorted(node for node, one in versions.items() if one == version))}"
        for version in found
    )
    behind = ", ".join(sorted(node for node, version in versions.items() if version != found[-1]))
    remedy = f"install {found[-1]} on {behind} and reboot"
    return CheckResult("gpu_drivers", False, f"the {vendor} driver is of {len(found)} versions: {told}", remedy)


def driver_check(node: str, report: GpuReport, minimum_version: str) -> CheckResult:
    """Whether the driver is at least `minimum_version`, compared number by number."""
    version = report.driver_version
    if version is None:
        detail = f"{node}: the driver's version is not known; at least {minimum_version} is needed"
        return CheckResult("gpu_driver", None, detail, PREPARE_AGAIN)
    if version_numbers(version) < version_numbers(minimum_version):
        detail = f"{node}: driver {version} is older than {minimum_version}"
        return CheckResult("gpu_driver", False, detail, PREPARE_AGAIN)
    return CheckResult("gpu_driver", True, f"{node}: driver {version} is at least {minimum_version}")


def link_width_check(node: str, gpu: Gpu) -> CheckResult:
    """Whether the PCIe link has all lanes that GPU and slot allow; width does not fall for power saving."""
    current, maximum = gpu.pcie_width_current, gpu.pcie_width_max
    if current is None or maximum is None:
        return CheckResult("gpu_link_width", None, f"{node}: GPU {gpu.index} does not say its PCIe width")
    detail = f"{node}: GPU {gpu.index} has {current} of {maximum} PCIe lanes"
    if current >= maximum:
        return CheckResult("gpu_link_width", True, detail)
    return CheckResult(
        "gpu_link_width", False, detail, "reseat the card, or state the slot's lanes in the hardware profile"
    )


def link_generation_check(node: str, gpu: Gpu) -> CheckResult:
    """Whether the PCIe link runs at its best generation.

    Slower while idle proves nothing, so that is None.
    """
    current, maximum = gpu.pcie_generation_current, gpu.pcie_generation_max
    name = "gpu_link_generation"
    if current is None or maximum is None:
        return CheckResult(name, None, f"{node}: GPU {gpu.index} does not say its PCIe generation")
    detail = f"{node}: GPU {gpu.index} runs PCIe generation {current} of {maximum}"
    if current >= maximum:
        return CheckResult(name, True, detail)
    if (gpu.utilization_percent or 0) < BUSY_UTILIZATION_PERCENT:
        return CheckResult(name, None, f"{detail} while idle", "read it again under load")
    return CheckResult(name, False, f"{detail} under load", "check the slot and its setting in the firmware")


def ecc_checks(node: str, gpu: Gpu) -> list[CheckResult]:
    """Memory errors since the driver was loaded. No result for GPUs without ECC counters."""
    results: list[CheckResult] = []
    if gpu.ecc_uncorrected_errors is not None:
        count = gpu.ecc_uncorrected_errors
        detail = f"{node}: GPU {gpu.index} has {count} uncorrected memory errors"
        remedy = "drain the node, reset the GPU, and replace it if they come back" if count else ""
        results.append(CheckResult("gpu_memory_errors", count == 0, detail, remedy))
    if gpu.memory_repair_pending:
        detail = f"{node}: GPU {gpu.index} has a memory repair pending"
        results.append(CheckResult("gpu_memory_repair", False, detail, "drain the node and reset the GPU"))
    return results


def temperature_check(node: str, gpu: Gpu, maximum_celsius: float) -> CheckResult:
    """Whether the GPU is cooler than `maximum_celsius`."""
    temperature = gpu.temperature_celsius
    if temperature is None:
        return CheckResult("gpu_temperature", None, f"{node}: GPU {gpu.index} does not say its temperature")
    cool = temperature < maximum_celsius
    detail = f"{node}: GPU {gpu.index} is at {temperature:g} of at most {maximum_celsius:g} degrees Celsius"
    return CheckResult("gpu_temperature", cool, detail, "" if cool else "check fans, dust and airflow")


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version ("7.0.0-3-pve" is (7, 0, 0)); empty for none."""
    match = re.match(r"\d+(?:\.\d+)*", version.strip())
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 550 and 550.0 are the same version
    return tuple(numbers)
