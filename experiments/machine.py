"""The machine that measures: what it is, and how busy it is. Bytes."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, system."""
    return {
        "processor": _after_colon(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _meminfo("MemTotal"),
        "system": _operating_system(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def available_memory_bytes() -> int:
    """What new programs can have without pushing out others, as the kernel estimates it."""
    return _meminfo("MemAvailable")


def load_average() -> float:
    """Runnable processes in the last minute; says whether a measurement had the machine to itself."""
    return round(os.getloadavg()[0], 2)


def _after_colon(path: Path, key: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _meminfo(key: str) -> int:
    return int(_after_colon(Path("/proc/meminfo"), key).split()[0]) * 1024


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()
