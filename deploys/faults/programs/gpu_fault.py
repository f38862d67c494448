"""Faults of a GPU: contention and memory pressure on the real one, and five on a stand-in of NVIDIA's library.

Standard library only. Power cap, clock limit, lost card, XID and ECC errors change the table that our stand-in of
libnvidia-ml.so reads (deploys/faults/nvml_stand_in): what is tested is who reads such figures. No real card is touched.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.faults.programs import host_tools
from deploys.faults.programs.host_tools import FaultError

REAL = ("gpu-contention", "gpu-memory-pressure")
STAND_IN = ("gpu-power-cap", "gpu-clock-limit", "gpu-lost", "gpu-xid", "gpu-ecc")
NAMES = (*REAL, *STAND_IN)
Note = Callable[[dict[str, Any]], None]


def lines(name: str, parameters: dict[str, Any]) -> list[str]:
    """What a fault adds to the stand-in's table: DEVICE KEY VALUE, with the fault's name behind it. Pure."""
    key, value = {
        "gpu-power-cap": ("power_limit_milliwatts", round(1000 * parameters.get("watts", 0))),
        "gpu-clock-limit": ("clock_megahertz", parameters.get("megahertz")),
        "gpu-lost": ("lost", 1),
        "gpu-xid": ("xid", parameters.get("xid")),
        "gpu-ecc": ("ecc_uncorrected", parameters.get("errors")),
    }[name]
    return [f"{parameters['device']} {key} {value} {_tag(name)}"]


def without(table: str, name: str) -> str:
    """The table without a fault's lines. Pure."""
    return "".join(f"{line}\n" for line in table.splitlines() if not line.endswith(f" {_tag(name)}"))


def inject(directory: str, order: dict[str, Any], note: Note, program: str) -> dict[str, Any]:
    """Start the load, or change the stand-in's table."""
    name, parameters, context = order["name"], order["parameters"], order["context"]
    if name in REAL:
        python = context.get("runtime_python") or sys.executable
        if not Path(python).exists():
            raise FaultError(f"{name}: {python} is not there; run `cluster up`, which brings the runtime with torch")
        made: dict[str, Any] = {"means": "torch on the real card"}
        note(made)
        share = parameters["part"] if name == "gpu-memory-pressure" else 0.0
        words = [python, program, "-", "gpu-load", str(parameters["device"]), f"{share:g}", f"{order['seconds']:g}"]
        host_tools.start(directory, name, words, order["seconds"])
        return made
    file = _table(context)
    if not file.exists():
        raise FaultError(f"{name}: no stand-in of NVIDIA's library is set up here ({file}); a real card is not touched")
    made = {"means": "a stand-in of libnvidia-ml.so", "stand_in": True, "table": str(file)}
    note(made)
    text = without(file.read_text(), name)
    _replace(file, text + "".join(f"{line}\n" for line in lines(name, parameters)))
    return made


def heal(directory: str, record: dict[str, Any]) -> None:
    """End the load, or take the fault's lines back."""
    name = record["name"]
    if name in REAL:
        host_tools.stop(directory, name)
        return
    file = _table(record["order"]["context"])
    if file.exists():
        _replace(file, without(file.read_text(), name))


def traces(directory: str, name: str, _record: dict[str, Any] | None, context: dict[str, Any]) -> list[str]:
    """Loads that run, lines that stand in the table."""
    if name in REAL:
        return host_tools.running(directory, name)
    file = _table(context)
    if not file.exists():
        return []
    return [f"{file}: {line}" for line in file.read_text().splitlines() if line.endswith(f" {_tag(name)}")]


def _table(context: dict[str, Any]) -> Path:
    return Path(str(context.get("nvml_table") or "/run/cluster-nvml-stand-in/table"))


def _tag(name: str) -> str:
    return f"#cluster-fault:{name}"


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
