"""Judgements over an `NpuReport`. Pure."""

from __future__ import annotations

from facts.health.result import CheckResult
from facts.parse.npu import NpuReport


def npu_checks(node: str, report: NpuReport) -> list[CheckResult]:
    """That an NPU is there and serves nothing, and why; no result on a host without one."""
    count = max(len(report.npus), report.devices_on_pci_bus)
    if not count:
        return []
    models = ", ".join(dict.fromkeys(npu.model for npu in report.npus if npu.model)) or "of an unnamed kind"
    driver = "" if report.module_loaded else ", its driver is not loaded"
    return [CheckResult("npu", True, f"{node}: {count} NPU ({models}){driver}: {report.served_by_vllm_reason}")]
