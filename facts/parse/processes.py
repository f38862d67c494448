"""Pure parser for the processes of a node. ValueError for what is no list of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facts.parse.report import Report
from facts.parse.shape import figure
from facts.programs.engines import SERVER


@dataclass(frozen=True)
class ProcessReport(Report):
    """Processes of one node: `engines` hold a model, `total_bytes` is the proportional set size of all of them."""

    engines: tuple[str, ...]
    names: tuple[str, ...]
    total_bytes: int


def parse_processes(answer: Mapping[str, Any]) -> ProcessReport:
    """From {processes: [{name, bytes}]}; a process whose size cannot be read counts with its name."""
    listed = answer.get("processes") if isinstance(answer, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError(f"processes: a list was expected in {str(answer)[:200]}")
    rows = [(str(row.get("name", "")), _size(row.get("bytes"))) for row in listed if isinstance(row, dict)]
    engines = tuple(name for name, _ in rows if "VLLM::" in name or SERVER in name)
    return ProcessReport(engines, tuple(name for name, _ in rows), sum(size for _, size in rows))


def _size(value: Any) -> int:
    try:
        return max(int(figure(value, "processes, bytes")), 0)
    except ValueError:
        return 0
