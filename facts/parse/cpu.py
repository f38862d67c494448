"""`lscpu -J` or /proc/cpuinfo to a `CpuReport`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from facts.parse.report import Report
from facts.parse.sections import Section, parse_sections
from facts.parse.sysfs import parse_json

DECISIVE_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "asimd",
    "asimddp",
    "sve",
    "bf16",
    "i8mm",
)


@dataclass(frozen=True)
class CpuReport(Report):
    """`cores` are physical, `threads` logical, both over all sockets; 0 sockets or cores: not told.

    `decisive_flags` are those that decide which kernels run, and how fast. Which data type is right for a model is not
    the processor's to say: docs/decisions/0009-eager-and-dtype.md.
    """

    architecture: str
    model: str
    sockets: int
    cores: int
    threads: int
    decisive_flags: tuple[str, ...]


def parse_cpu(output: Iterable[str]) -> CpuReport:
    """The output of `facts.cpu.Cpu`; lscpu first, /proc/cpuinfo where it is missing or failed.

    Raises `ValueError` when neither names the number of CPUs.
    """
    sections = parse_sections(output, "lscpu", "cpuinfo", "machine")
    machine = sections["machine"].text.strip()
    if sections["lscpu"].succeeded:
        return parse_lscpu(sections["lscpu"].text)
    return parse_cpuinfo(sections["cpuinfo"], machine)


def parse_lscpu(text: str) -> CpuReport:
    """The JSON of `lscpu -J`, flat or nested (util-linux 2.38 nests under "children")."""
    document = parse_json(text, "lscpu")
    values = _flatten(document.get("lscpu") if isinstance(document, dict) else document)
    threads = _count(values, "CPU(s)")
    if threads == 0:
        raise ValueError(f"lscpu: no CPU(s) among {', '.join(sorted(values))[:120] or 'no fields'}")
    # aarch64 virtual machines say "Socket(s): -" and count clusters.
    sockets = _count(values, "Socket(s)") or _count(values, "Cluster(s)")
    cores = sockets * (_count(values, "Core(s) per socket") or _count(values, "Core(s) per cluster"))
    return _report(
        values.get("Architecture", ""),
        values.get("Model name", ""),
        sockets,
        cores,
        threads,
        values.get("Flags", "").split(),
    )


def parse_cpuinfo(section: Section, machine: str) -> CpuReport:
    """/proc/cpuinfo; `machine` is `uname -m`, which that file does not hold."""
    if not section.succeeded:
        raise ValueError(f"/proc/cpuinfo: {section.failure}")
    blocks = [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        for block in re.split(r"\n\s*\n", section.text)
    ]
    processors = [block for block in blocks if "processor" in block]
    if not processors:
        raise ValueError(f"/proc/cpuinfo: no processor in {section.text[:120]!r}")
    first = processors[0]
    sockets = {block["physical id"] for block in processors if "physical id" in block}
    cores = {
        (block["physical id"], block["core id"]) for block in processors if {"physical id", "core id"} <= block.keys()
    }
    flags = first.get("flags") or first.get("Features") or ""
    return _report(machine, first.get("model name", ""), len(sockets), len(cores), len(processors), flags.split())


def _report(architecture: str, model: str, sockets: int, cores: int, threads: int, flags: list[str]) -> CpuReport:
    decisive = tuple(flag for flag in DECISIVE_FLAGS if flag in flags)
    return CpuReport(architecture, model or "unknown", sockets, cores, threads, decisive)


def _flatten(entries: Any) -> dict[str, str]:
    values: dict[str, str] = {}
    if not isinstance(entries, list):
        raise ValueError('lscpu: no list named "lscpu"')
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"lscpu: {str(entry)[:80]!r} is no field")
        field, data = entry.get("field"), entry.get("data")
        if isinstance(field, str) and isinstance(data, str):
            values.setdefault(field.rstrip(":").strip(), data)
        if entry.get("children"):
            values = {**_flatten(entry["children"]), **values}
    return values


def _count(values: dict[str, str], field: str) -> int:
    text = values.get(field, "")
    return int(text) if text.isdecimal() else 0
