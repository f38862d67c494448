"""Judgements over host memory, shared memory and disks. Pure; bytes in, GiB in messages."""

from __future__ import annotations

from facts.health.result import PREPARE_AGAIN, CheckResult
from facts.parse.memory import SHARED_MEMORY_PATH, FilesystemReport, MemoryReport

GIBIBYTE = 1 << 30


def memory_check(node: str, report: MemoryReport, needed_bytes: int) -> CheckResult:
    """Whether `needed_bytes` of host memory are available now; None where the kernel's estimate cannot be read."""
    if report.available_bytes is None:
        detail = f"{node}: nobody knows how much memory is available: {'; '.join(report.unread)}"
        return CheckResult("memory", None, detail)
    detail = f"{node}: {_gib(report.available_bytes)} of memory available, {_gib(needed_bytes)} needed"
    if report.available_bytes >= needed_bytes:
        return CheckResult("memory", True, detail)
    fits = report.total_bytes >= needed_bytes
    remedy = "stop other programs on this host" if fits else f"it has {_gib(report.total_bytes)} in all: use less"
    return CheckResult("memory", False, detail, remedy)


def shared_memory_check(node: str, report: FilesystemReport, object_store_bytes: int) -> CheckResult:
    """Whether /dev/shm holds Ray's object store; with too little, Ray moves it to disk and becomes slow."""
    detail = (
        f"{node}: {report.mount_point} has {_gib(report.size_bytes)}, the object store needs {_gib(object_store_bytes)}"
    )
    if report.mount_point != SHARED_MEMORY_PATH:
        return CheckResult(
            "shared_memory", False, f"{node}: /dev/shm is no file system of its own", "mount a tmpfs there"
        )
    if report.size_bytes < object_store_bytes:
        return CheckResult("shared_memory", False, detail, PREPARE_AGAIN)
    if report.free_bytes < object_store_bytes:
        detail += f"; {_gib(report.free_bytes)} are free, the rest may be the store itself"
    return CheckResult("shared_memory", True, detail)


def disk_check(node: str, report: FilesystemReport, needed_bytes: int, purpose: str) -> CheckResult:
    """Whether a file system has `needed_bytes` free; `purpose` says for what ("model weights")."""
    detail = f"{node}: {report.mount_point} has {_gib(report.free_bytes)} free, {purpose} needs {_gib(needed_bytes)}"
    if report.free_bytes >= needed_bytes:
        return CheckResult("disk", True, detail)
    remedy = f"free {_gib(needed_bytes - report.free_bytes)} on {report.mount_point}, or choose another directory"
    return CheckResult("disk", False, detail, remedy)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIBIBYTE:.1f} GiB"
