"""What was really injected into a run, for scoring alone: nothing else of this package reads results/faults.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.causes.signatures import Kind
from experiments.errors import ExperimentError

FAULTS = "results/faults.json"
# Names of faults as deploys/faults has them.
_BY_NAME: Mapping[str, Kind] = {
    "cpu-pressure": "cpu",
    "memory-pressure": "memory",
    "disk-pressure": "disk",
    "network-delay": "network-delay",
    "network-jitter": "network-delay",
    "network-loss": "network-loss",
    "network-rate": "network-rate",
    "network-partition": "network-partition",
    "network-cut": "network-partition",
    "process-kill": "process-kill",
    "process-freeze": "process-freeze",
}
# Layers of which every fault is one kind.
_BY_LAYER: Mapping[str, Kind] = {
    "compute": "cpu", "memory": "memory", "disk": "disk", "gpu": "gpu", "host": "host", "clock": "clock",
}  # fmt: skip

Cause = tuple[str, Kind]


def kind_of(name: str, layer: str) -> Kind:
    """The kind of a fault by its name, else by its layer. ExperimentError for neither."""
    kind = _BY_NAME.get(name) or _BY_LAYER.get(layer)
    if kind is None:
        raise ExperimentError(f"fault {name!r} of layer {layer!r}: no kind is known for it; add it to causes/labels.py")
    return kind


def windows(bundle: Path) -> list[Mapping[str, Any]]:
    """The faults of a bundle; none where it has no file of them."""
    path = bundle / FAULTS
    if not path.is_file():
        return []
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: cannot be read ({error}); the run has no labels") from None
    every = said.get("faults", said.get("windows")) if isinstance(said, dict) else said
    if not isinstance(every, list) or not all(isinstance(one, dict) and "name" in one for one in every):
        raise ExperimentError(f"{path}: no list of faults with names")
    return every


def causes(bundle: Path) -> frozenset[Cause]:
    """Node and kind of everything that took effect; empty for a clean run."""
    return frozenset(
        (str(node), kind_of(str(one["name"]), str(one.get("layer", ""))))
        for one in windows(bundle)
        if one.get("took_effect") is not None
        for node in one.get("nodes", ())
    )


def began(bundle: Path) -> float | None:
    """When the first fault was injected, unix seconds; None for a clean run. Other methods have to be told."""
    times = [float(one["began"]) for one in windows(bundle) if one.get("began") is not None]
    return min(times, default=None)
