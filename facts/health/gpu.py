"""Judgements over a `GpuReport` and a `TopologyReport`. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from facts.health.result import PREPARE_AGAIN, CheckResult
from facts.parse.gpu import Gpu, GpuReport

MAXIMUM_TEMPERATURE_CELSIUS = 90.0
BUSY_UTILIZATION_PERCENT = 20.0
"""Above this a GPU is at work, and a slow PCIe generation is no longer power saving."""


def gpu_checks(
    node: str,
    report: GpuReport,
    *,
    expected_count: int,
    minimum_driver_version: str | None = None,
    maximum_temperature_celsius: float = MAXIMUM_TEMPERATURE_CELSIUS,
) -> list[CheckResult]:
    """All judgements over one vendor's GPUs of a node.

    `minimum_driver_version` is dotted ("550" or "550.54.14"), None for any. Without an answer from the tool
    the only results are those on its presence and on the count.
    """
    results = [tool_check(node, report), count_check(node, report, expected_count)]
    if minimum_driver_version is not None:
        results.append(driver_check(node, report, minimum_driver_version))
    for gpu in report.gpus:
        results += [link_width_check(node, gpu), link_generation_check(node, gpu), *ecc_checks(node, gpu)]
        results.append(temperature_check(node, gpu, maximum_temperature_celsius))
    return results


def of_target(report: GpuReport, gfx_target: str) -> GpuReport:
    """The report with only the GPUs of `gfx_target` ("gfx1102").

    A desktop CPU's own small GPU is listed beside the card and has to be left out before GPUs are counted.
    """
    return replace(report, gpus=tuple(gpu for gpu in report.gpus if gpu.gfx_target == gfx_target))


def tool_check(node: str, report: GpuReport) -> CheckResult:
    """Whether the vendor's tool answers. Missing where there is no such device is fine."""
    if report.tool == "present":
        return CheckResult("gpu_tool", True, f"{node}: {report.source} answers")
    if report.tool == "missing" and report.devices_on_pci_bus == 0 and not report.gpus:
        return CheckResult("gpu_tool", True, f"{node}: no {report.vendor} GPU, and no {report.vendor} tool")
    state = "is not installed" if report.tool == "missing" else "does not answer"
    return CheckResult("gpu_tool", False, f"{node}: the {report.vendor} tool {state}: {report.detail}", PREPARE_AGAIN)


def count_check(node: str, report: GpuReport, expected_count: int) -> CheckResult:
    """Whether the node has the GPUs that the inventory says; None when the tool could not tell."""
    count = len(report.gpus)
    detail = f"{node}: {count} {report.vendor} GPUs, {expected_count} expected"
    if count == expected_count:
        return CheckResult("gpu_count", True, detail)
    if report.tool != "present" and not report.gpus:
        seen = report.devices_on_pci_bus
        return CheckResult(
            "gpu_count", None, f"{detail}; the tool is {report.tool}, the PCI bus has {seen}", PREPARE_AGAIN
        )
    remedy = "correct the hardware profile" if count > expected_count else "check power, seating and dmesg"
    return CheckResult("gpu_count", False, detail, remedy)


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
