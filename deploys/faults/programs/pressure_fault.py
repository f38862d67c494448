"""cpu-pressure, memory-pressure and disk-pressure: what is started, within which bounds, and what is left of it.

Standard library only. stress-ng where it is installed, a small program of ours elsewhere; both have a deadline.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.faults.programs import host_tools
from deploys.faults.programs.host_tools import FaultError

NAMES = ("cpu-pressure", "memory-pressure", "disk-pressure")
# On a disk, unlike /tmp.
_USUAL_PLACE, _FOLDER = "/var/tmp", "/cluster-fault-disk"  # noqa: S108
Note = Callable[[dict[str, Any]], None]


def with_stress_ng(name: str, sizes: dict[str, Any], seconds: float) -> list[str]:
    """stress-ng's words for a fault; its own time limit is among them. Pure."""
    ends = ["--timeout", f"{seconds:.0f}s", "--quiet"]
    if name == "cpu-pressure":
        return ["stress-ng", "--cpu", str(sizes["processes"]), "--cpu-load", f"{sizes['percent']:.0f}", *ends]
    if name == "memory-pressure":
        return ["stress-ng", "--vm", "1", "--vm-bytes", str(sizes["bytes"]), "--vm-keep", "--oomable", *ends]
    sized = ["--hdd", "1", "--hdd-bytes", str(sizes["bytes"]), "--hdd-opts", "fsync"]
    return ["stress-ng", *sized, "--temp-path", sizes["directory"], *ends]


def with_ours(name: str, sizes: dict[str, Any], seconds: float, program: str) -> list[str]:
    """The same with our own program. Pure."""
    words = {
        "cpu-pressure": ["cpu", str(sizes.get("processes")), str(sizes.get("percent"))],
        "memory-pressure": ["memory", str(sizes.get("bytes"))],
        "disk-pressure": ["disk", str(sizes.get("directory")), str(sizes.get("bytes"))],
    }[name]
    return [sys.executable, program, "-", "pressure", *words, f"{seconds:g}"]


def bounded(name: str, parameters: dict[str, Any], here: dict[str, int], shared: bool) -> dict[str, Any]:
    """What is asked for, within what this host bears; FaultError where that is nothing. Pure.

    `here`: processors, available_bytes, free_bytes of the directory. `shared`: the controller runs here as well, and
    keeps half of the processors.
    """
    if name == "cpu-pressure":
        most = max(here["processors"] // 2, 1) if shared else here["processors"]
        return {"processes": min(parameters["processes"] or most, most), "percent": parameters["load_percent"]}
    kind, found = ("memory", "available_bytes") if name == "memory-pressure" else ("disk", "free_bytes")
    room = here[found] - int(parameters["keep_free_bytes"])
    if room < 1 << 20:
        raise FaultError(
            f"{name}: {here[found]} bytes of {kind} are free here and keep_free_bytes is "
            f"{parameters['keep_free_bytes']}: nothing is left to take; free some, or lower keep_free_bytes"
        )
    return {"bytes": min(int(parameters["bytes"]), room)}


def inject(directory: str, order: dict[str, Any], note: Note, program: str) -> dict[str, Any]:
    """Start it; what it is sized to and with what it is done."""
    name, parameters = order["name"], order["parameters"]
    place = parameters.get("directory", _USUAL_PLACE)
    here = {
        "processors": os.cpu_count() or 1,
        "available_bytes": _available_bytes(),
        "free_bytes": shutil.disk_usage(place).free,
    }
    sizes = bounded(name, parameters, here, bool(order["context"].get("shared_machine")))
    seconds = order["seconds"]
    ready_made = bool(shutil.which("stress-ng", path=host_tools.environment()["PATH"])) and host_tools.has_systemd()
    if name == "disk-pressure":
        sizes["directory"] = f"{place}{_FOLDER}" if ready_made else place
    note({"means": "stress-ng" if ready_made else "our own program", **sizes})
    if ready_made and name == "disk-pressure":
        Path(sizes["directory"]).mkdir(mode=0o700, exist_ok=True)
    words = with_stress_ng(name, sizes, seconds) if ready_made else with_ours(name, sizes, seconds, program)
    host_tools.start(directory, name, words, seconds)
    return {"means": "stress-ng" if ready_made else "our own program", **sizes}


def heal(directory: str, record: dict[str, Any]) -> None:
    """End it, and take away what stress-ng may have left."""
    host_tools.stop(directory, record["name"])
    for place in _places(record) if record["name"] == "disk-pressure" else ():
        shutil.rmtree(place, ignore_errors=True)


def traces(directory: str, name: str, record: dict[str, Any] | None, _context: dict[str, Any]) -> list[str]:
    """What is there of it now."""
    left = [f"directory {place}" for place in _places(record) if place.exists()]
    return host_tools.running(directory, name) + (left if name == "disk-pressure" else [])


def _places(record: dict[str, Any] | None) -> list[Path]:
    """Where stress-ng writes: the usual directory, and the one that the record names."""
    place = str(((record or {}).get("made") or {}).get("directory", ""))
    named = [Path(place)] if place.endswith(_FOLDER) else []
    return sorted({Path(_USUAL_PLACE + _FOLDER), *named})


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise FaultError("/proc/meminfo has no MemAvailable; give the fault no memory pressure here")
