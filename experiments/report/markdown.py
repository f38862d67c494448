"""Pieces of Markdown that every report has: figures, tables, where it was measured, what missed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardware.model import GIB


def shown(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column text, the others figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def about(machine: dict[str, Any], versions: dict[str, str], started: str) -> str:
    """Two lines that say where and with what was measured."""
    size = machine["memory_bytes"] / GIB
    what = f"{machine['processor']}, {machine['cores']} cores, {size:.1f} GiB, {machine['system']}"
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Machine: {what}, kernel {machine['kernel']}. Measured {started}.\n\nVersions: {named}.\n"


def listed_misses(misses: Sequence[str]) -> str:
    """Everything that did not go as declared, or that nothing did not."""
    return "Misses:\n\n" + "\n".join(f"- {miss}" for miss in misses) if misses else "Misses: none."
