"""Judgements over a `CpuReport`. Pure."""

from __future__ import annotations

from facts.health.result import CheckResult
from facts.parse.cpu import CpuReport

# vLLM's engine for processors is built for vectors of at least these; of the first found, on all kinds of core.
_VECTORS = {"x86_64": ("avx512f", "avx2"), "aarch64": ("sve", "asimd")}


def processor_check(node: str, report: CpuReport) -> CheckResult:
    """Whether every kind of core has the vector unit that an engine on the processor is built for."""
    kinds = f" of {len(report.kinds)} kinds" if len(report.kinds) > 1 else ""
    detail = f"{node}: {report.cores or report.threads} cores{kinds} ({report.model})"
    wanted = _VECTORS.get(report.architecture, ())
    found = next((flag for flag in wanted if flag in report.decisive_flags), "")
    if wanted and not found:
        detail += f" without {wanted[-1]} on all of them, which the engine's kernels need"
        return CheckResult(
            "processor", False, detail, "serve from another machine, or give a virtual one the host's CPU"
        )
    return CheckResult("processor", True, f"{detail}, {found or report.architecture} on all of them")
