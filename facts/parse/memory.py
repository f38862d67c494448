"""/proc/meminfo and `df -P -T -B1` to bytes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.quantity import size_in_bytes
from facts.parse.report import Report
from facts.parse.sections import parse_sections
from facts.parse.sysfs import key_values

SHARED_MEMORY_PATH = "/dev/shm"  # noqa: S108 - a fixed place of the system, only measured
_FILESYSTEM = re.compile(
    r"(?P<source>.*?)\s+(?P<type>\S+)\s+(?P<size>\d+)\s+(?P<used>\d+)\s+(?P<free>\d+)\s+(?:\d+%|-)\s+(?P<mount>/.*)"
)


@dataclass(frozen=True)
class MemoryReport(Report):
    """Host memory in bytes.

    `available_bytes` is the kernel's estimate of what new programs may take without swapping.
    """

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int


@dataclass(frozen=True)
class FilesystemReport(Report):
    """One file system in bytes; `free_bytes` is what a user without privileges may still write."""

    mount_point: str
    source: str
    filesystem_type: str
    size_bytes: int
    used_bytes: int
    free_bytes: int


def parse_memory(output: Iterable[str]) -> MemoryReport:
    """The output of `facts.memory.Memory`. Raises `ValueError` when a figure is absent."""
    section = parse_sections(output, "meminfo")["meminfo"]
    if not section.succeeded:
        raise ValueError(f"/proc/meminfo: {section.failure}")
    values = key_values(section.text, ":")

    def figure(name: str) -> int:
        size = size_in_bytes(values.get(name), f"/proc/meminfo, {name}")
        if size is None:
            raise ValueError(f"/proc/meminfo: no {name} among {len(values)} lines")
        return size

    return MemoryReport(figure("MemTotal"), figure("MemAvailable"), figure("SwapTotal"), figure("SwapFree"))


def parse_filesystem(output: Iterable[str]) -> FilesystemReport:
    """The output of `facts.memory.SharedMemory` or `Disk`.

    Raises `ValueError` when df failed or printed no row.
    """
    section = parse_sections(output, "filesystem")["filesystem"]
    if not section.succeeded:
        raise ValueError(f"df: {section.failure}")
    match = next((found for line in section.lines if (found := _FILESYSTEM.fullmatch(line.strip()))), None)
    if match is None:
        raise ValueError(f"df: no file system in {section.text[:200]!r}")
    return FilesystemReport(
        mount_point=match["mount"],
        source=match["source"],
        filesystem_type=match["type"],
        size_bytes=int(match["size"]),
        used_bytes=int(match["used"]),
        free_bytes=int(match["free"]),
    )
