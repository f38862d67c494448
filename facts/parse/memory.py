"""/proc/meminfo and `df -P -T -B1` to bytes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.quantity import Readings, size_in_bytes
from facts.parse.report import Report
from facts.parse.sections import parse_sections
from facts.parse.sysfs import key_values

SHARED_MEMORY_PATH = "/dev/shm"  # noqa: S108 - a fixed place of the system, only measured
_FILESYSTEM = re.compile(
    r"(?P<source>.*?)\s+(?P<type>\S+)\s+"
    r"(?P<size>[0-9]{1,18})\s+(?P<used>[0-9]{1,18})\s+(?P<free>-?[0-9]{1,18})\s+(?:[0-9]+%|-)\s+(?P<mount>/.*)"
)


@dataclass(frozen=True)
class MemoryReport(Report):
    """Host memory in bytes.

    `available_bytes` is the kernel's estimate of what new programs may take without swapping; None, like swap, where it
    cannot be read, for the reason in `unread`.
    """

    total_bytes: int
    available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    unread: tuple[str, ...] = ()


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
    """The output of `facts.memory.Memory`. Raises `ValueError` without the memory's size."""
    section = parse_sections(output, "meminfo")["meminfo"]
    if not section.succeeded:
        raise ValueError(f"/proc/meminfo: {section.failure}")
    values, readings = key_values(section.text, ":"), Readings()
    total = size_in_bytes(values.get("MemTotal"), "/proc/meminfo, MemTotal")
    if not total:
        raise ValueError(f"/proc/meminfo: no MemTotal among {len(values)} lines")

    def figure(name: str) -> int | None:
        size = readings.size(values.get(name), f"/proc/meminfo, {name}")
        if name not in values:
            readings.unread.append(f"/proc/meminfo: no {name} among {len(values)} lines")
        return size

    return MemoryReport(total, figure("MemAvailable"), figure("SwapTotal"), figure("SwapFree"), tuple(readings.unread))


def parse_filesystem(output: Iterable[str]) -> FilesystemReport:
    """The output of `facts.memory.SharedMemory` or `Disk`.

    Raises `ValueError` when df printed no row, with what it said when it failed; a row counts in any case.
    """
    section = parse_sections(output, "filesystem")["filesystem"]
    match = next((found for line in section.lines if (found := _FILESYSTEM.fullmatch(line.strip()))), None)
    if match is None and not section.succeeded:
        raise ValueError(f"df: {section.failure}")
    if match is None:
        raise ValueError(f"df: no file system in {section.text[:200]!r}")
    return FilesystemReport(
        mount_point=match["mount"],
        source=match["source"],
        filesystem_type=match["type"],
        size_bytes=int(match["size"]),
        used_bytes=int(match["used"]),
        free_bytes=max(int(match["free"]), 0),  # below 0 where what is kept for root is in use
    )
