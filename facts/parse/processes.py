"""Pure parser for the processes of a node. ValueError when a field is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facts.parse.report import Report
from facts.programs.engines import SERVER


@dataclass(frozen=True)
class ProcessReport(Report):
    """Processes of one node: `engines` hold a model, `total_bytes` is the proportional set size of all of them."""

    engines: tuple[str, ...]
    names: tuple[str, ...]
    total_bytes: int


def parse_processes(answer: Mapping[str, Any]) -> ProcessReport:
    """From {processes: [{name, bytes}]}."""
    try:
        rows = [(str(row["name"]), int(row["bytes"])) for row in answer["processes"]]
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"processes: {type(error).__name__} {error} in {str(answer)[:200]}") from None
    engines = tuple(name for name, _ in rows if "VLLM::" in name or SERVER in name)
    return ProcessReport(engines, tuple(name for name, _ in rows), sum(size for _, size in rows))
