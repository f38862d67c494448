"""`lscpu -J` or /proc/cpuinfo to a `CpuReport`. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
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
_DEEPEST = 20


@dataclass(frozen=True)
class CoreKind(Report):
    """Cores of one kind on a host that may have several; 0 cores: not told."""

    model: str
    cores: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class CpuReport(Report):
    """`cores` are physical, `threads` logical, both over all sockets and kinds of core; 0 sockets or cores: not told.

    `model` names every kind, and `kinds` has them apart. `decisive_flags` are those that all cores have and that decide
    which kernels run, and how fast: a thread may be moved to any core. Which data type is right for a model is not the
    processor's to say: docs/decisions/0009-eager-and-dtype.md.
    """

    architecture: str
    model: str
    sockets: int
    cores: int
    threads: int
    decisive_flags: tuple[str, ...]
    kinds: tuple[CoreKind, ...] = ()


def parse_cpu(output: Iterable[str]) -> CpuReport:
    """The output of `facts.cpu.Cpu`; lscpu first, /proc/cpuinfo where it is missing or failed.

    Raises `ValueError` when neither names the number of CPUs.
    """
    sections = parse_sections(output, "lscpu", "cpuinfo", "machine")
    machine, cpuinfo = sections["machine"].text.strip(), sections["cpuinfo"]
    if sections["lscpu"].succeeded:
        try:
            return parse_lscpu(sections["lscpu"].text)
        except ValueError:
            if "processor" not in cpuinfo.text:
                raise
    return parse_cpuinfo(cpuinfo, machine)


def parse_lscpu(text: str) -> CpuReport:
    """The JSON of `lscpu -J`, flat or nested (util-linux 2.38 nests under "children").

    With several kinds of core each begins with its "Model name". What is no field is left out; `ValueError` without a
    number of CPUs.
    """
    document = parse_json(text, "lscpu")
    fields = list(_fields(document.get("lscpu") if isinstance(document, dict) else document, 0))
    common: dict[str, str] = {}
    groups: list[dict[str, str]] = []
    for name, value in fields:
        if name == "Model name":
            groups.append({})
        (groups[-1] if groups else common).setdefault(name, value)
    every = {name: value for group in reversed([common, *groups]) for name, value in group.items()}
    threads = _count(every, "CPU(s)")
    if threads == 0:
        raise ValueError(f"lscpu: no CPU(s) among {', '.join(sorted(every))[:120] or 'no fields'}")
    # What is said once holds for all; older versions say it in front of the model's name.
    groups = [{**common, **group} for group in groups] if len(groups) > 1 else [every]
    sockets = [_count(group, "Socket(s)") or _count(group, "Cluster(s)") for group in groups]
    kinds = [
        CoreKind(
            group.get("Model name", ""),
            # aarch64 virtual machines say "Socket(s): -" and count clusters.
            count * (_count(group, "Core(s) per socket") or _count(group, "Core(s) per cluster")),
            tuple(group.get("Flags", "").split()),
        )
        for group, count in zip(groups, sockets, strict=True)
    ]
    return _report(every.get("Architecture", ""), kinds, max(sockets), threads)


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
    kinds: dict[str, list[dict[str, str]]] = {}
    for block in processors:
        part = block.get("CPU part", "")
        kinds.setdefault(block.get("model name") or (f"CPU part {part}" if part else ""), []).append(block)
    sockets = {block["physical id"] for block in processors if "physical id" in block}
    found = [
        CoreKind(
            name,
            len({(one["physical id"], one["core id"]) for one in of_kind if {"physical id", "core id"} <= one.keys()}),
            _common([(one.get("flags") or one.get("Features") or "").split() for one in of_kind]),
        )
        for name, of_kind in kinds.items()
    ]
    return _report(machine, found, len(sockets), len(processors))


def _report(architecture: str, kinds: list[CoreKind], sockets: int, threads: int) -> CpuReport:
    flags = _common([kind.flags for kind in kinds])
    decisive = tuple(flag for flag in DECISIVE_FLAGS if flag in flags)
    # Where one kind does not say how many cores it has, nobody knows how many there are.
    cores = sum(kind.cores for kind in kinds) if all(kind.cores for kind in kinds) else 0
    model = ", ".join(dict.fromkeys(kind.model for kind in kinds if kind.model)) or "unknown"
    told = tuple(
        CoreKind(kind.model or "unknown", kind.cores, tuple(flag for flag in DECISIVE_FLAGS if flag in kind.flags))
        for kind in kinds
    )
    return CpuReport(architecture, model, sockets, cores, threads, decisive, told)


def _common(each: Sequence[Collection[str]]) -> tuple[str, ...]:
    """Flags that all have, in the order of the first."""
    return tuple(flag for flag in each[0] if all(flag in flags for flags in each)) if each else ()


def _fields(entries: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Name and value of every field, a parent before its children; what is none is left out."""
    if not isinstance(entries, list) or depth > _DEEPEST:
        return
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        field, data = entry.get("field"), entry.get("data")
        if isinstance(field, str) and isinstance(data, str):
            yield field.rstrip(":").strip(), data
        yield from _fields(entry.get("children"), depth + 1)


def _count(values: dict[str, str], field: str) -> int:
    text = values.get(field, "")
    return int(text) if re.fullmatch(r"[0-9]{1,7}", text) else 0
