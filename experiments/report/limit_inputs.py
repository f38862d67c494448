"""What `limit` needs of a cluster, as plain data for its bundle: taken while the cluster is known.

The model's config.json, the engine's options, the device's figures, the paths between ranks, and the calibration where
there is one. Bytes and seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.report.limit import FORMAT
from hardware.model import ProfileError
from hardware.planner import calibration as calibrations
from hardware.planner import collectives
from hardware.planner.errors import PlanError
from hardware.planner.placement import hardware_of, link_name
from hardware.planner.tensors import Sharding
from inventories.models import places, shapes
from operate import measuring, planning
from operate.errors import OperatorError


def inputs(name: str, model_name: str = "") -> dict[str, Any]:
    """What `limit.findings` needs of a cluster, and of the model that it is asked for (default: the inventory's first).

    Where it cannot be told: {"refusal": why}.
    """
    try:
        return _inputs(name, model_name)
    except (OperatorError, PlanError, ProfileError, OSError, ValueError) as error:
        return {"format": FORMAT, "refusal": str(error)}


def _inputs(name: str, model_name: str) -> dict[str, Any]:
    found = planning.declared(name)
    hardware = hardware_of(found.cluster)
    given = model_name or found.model_name
    model = planning.layers(given)
    options = planning.options(found, planning.load_model(given), None)
    calibration = planning.load_calibration(None, hardware.device.name, found.engine_version)
    serving = found.serving
    sharding = Sharding(int(serving.get("tensor_parallel", 1)), int(serving.get("pipeline_parallel", 1)))
    required = [link for link in hardware.links if not link.optional] or list(hardware.links)
    return {
        "format": FORMAT,
        "model": {"name": model.name, "config": _config(given)},
        "options": asdict(options),
        "device": asdict(hardware.device),
        "one_machine": hardware.one_machine,
        "replicas": int(serving.get("replicas", 1)),
        "sharding": asdict(sharding),
        "path": "peer" if sharding.ranks <= hardware.devices_per_node or not required else link_name(required[0]),
        "paths": {
            key: asdict(path)
            for key, path in measuring.paths(hardware, calibration).items()
            if isinstance(path, collectives.Path)
        },
        "calibration": json.loads(calibrations.to_json(calibration)) if calibration is not None else None,
    }


def _config(given: str) -> dict[str, Any]:
    """A model's own config.json."""
    path = Path(given).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    elif not path.is_file():
        name = places.find(given).config
        path = shapes.CONFIGS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found
