"""`nvidia-smi topo -m` to links between devices. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.gpu import ToolState
from facts.parse.report import Report
from facts.parse.sections import parse_sections

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NVLINK = re.compile(r"NV([0-9]{1,4})")


@dataclass(frozen=True)
class TopologyLink(Report):
    """How two devices reach each other.

    `kind` is nvidia-smi's: NVn (n bonded NVLinks), PIX, PXB, PHB, NODE, SYS, from near to far; a word that
    is not known here stays as it is. `nvlink_count` is n, or 0.
    """

    first: str
    second: str
    kind: str
    nvlink_count: int


@dataclass(frozen=True)
class TopologyReport(Report):
    """`devices` in the tool's order (GPU0, ..., NIC0, ...); `links` once for each pair.

    `cpu_affinity` and `numa_affinity` are (device, text) pairs for GPUs; text is nvidia-smi's ("0-63", "0").
    """

    tool: ToolState
    devices: tuple[str, ...] = ()
    links: tuple[TopologyLink, ...] = ()
    cpu_affinity: tuple[tuple[str, str], ...] = ()
    numa_affinity: tuple[tuple[str, str], ...] = ()
    detail: str = ""


def parse_topology(output: Iterable[str]) -> TopologyReport:
    """The output of `facts.nvidia.Topology`. Raises `ValueError` for a matrix that is cut or not square."""
    section = parse_sections(output, "nvidia-smi:topology")["nvidia-smi:topology"]
    if not section.succeeded:
        return TopologyReport("missing" if section.missing else "failed", detail=section.failure)
    rows = [[cell.strip() for cell in _COLOUR.sub("", line).split("\t")] for line in section.lines]
    header = next((row for row in rows if any(cell.startswith("GPU") for cell in row[1:])), None)
    if header is None:
        raise ValueError(f"nvidia-smi topo: no header with GPUs in {section.text.strip()[:120]!r}")
    columns = [cell for cell in header[1:] if cell]
    devices = tuple(cell for cell in columns if re.fullmatch(r"GPU\d+|NIC\d+|\w+_\d+", cell))
    by_name = {row[0]: row[1:] for row in rows if row[0] in devices}
    links: list[TopologyLink] = []
    for place, device in enumerate(devices):
        cells = by_name.get(device, [])
        if len(cells) < len(devices):
            raise ValueError(f"nvidia-smi topo: row {device} has {len(cells)} of {len(devices)} cells")
        links += [_link(device, other, cells[at]) for at, other in enumerate(devices) if at > place]
    gpus = [device for device in devices if device.startswith("GPU")]
    return TopologyReport(
        tool="present",
        devices=devices,
        links=tuple(links),
        cpu_affinity=_affinity(gpus, by_name, columns, "CPU Affinity"),
        numa_affinity=_affinity(gpus, by_name, columns, "NUMA Affinity"),
    )


def _link(first: str, second: str, kind: str) -> TopologyLink:
    bonded = _NVLINK.fullmatch(kind)
    return TopologyLink(first, second, kind, int(bonded.group(1)) if bonded else 0)


def _affinity(
    gpus: list[str], by_name: dict[str, list[str]], columns: list[str], title: str
) -> tuple[tuple[str, str], ...]:
    if title not in columns:
        return ()
    at = columns.index(title)
    return tuple((gpu, by_name[gpu][at]) for gpu in gpus if len(by_name[gpu]) > at and by_name[gpu][at])
