"""The shapes of models: config.json files read by the planner, those of known models and those of a directory. Bytes.

A known model's file is in configs/, cut to the fields that are read; its `_source` says of which repository it is.
ProfileError names the file and what is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hardware.model import ProfileError
from hardware.planner import configuration
from hardware.planner.architecture import Model
from hardware.planner.errors import PlanError
from hardware.planner.memory import stage_weights
from hardware.planner.tensors import WHOLE, parameter_count

CONFIGS = Path(__file__).parent / "configs"
_LARGEST_CONFIG_BYTES = 10 * 1024**2
_REPOSITORY = re.compile(r"^https://huggingface\.co/([^/]+/[^/]+)/")


@dataclass(frozen=True)
class Shape:
    """What a known config.json says: the planner's model, and its sizes by an entry's names."""

    config: str
    model: Model

    @property
    def sizes(self) -> dict[str, Any]:
        """An entry's keys that are not written into it."""
        return sizes_of(self.model)


def known() -> tuple[str, ...]:
    """Names of the models whose config.json comes with the project."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.json")))


@cache
def known_shape(name: str, where: str = "", must: bool = False) -> Shape | None:
    """The shape of a known model; None for another name, unless there `must` be one."""
    if name in known():
        return Shape(name, read(CONFIGS / f"{name}.json", name))
    if must:
        raise ProfileError(f"{where}: config {name!r} is not in {CONFIGS.name}/; put the model's config.json there")
    return None


@cache
def repositories() -> Mapping[str, str]:
    """A hub's repository, as it is written there -> the name of the known config.json from it."""
    found = {}
    for name in known():
        source = _REPOSITORY.match(str(_json(CONFIGS / f"{name}.json").get("_source", "")))
        if source:
            found[source[1]] = name
    return found


def read(path: Path, name: str) -> Model:
    """The model that a config.json describes; ProfileError for what is none, or none that the planner knows."""
    try:
        return configuration.read(_with_neighbours(path), name, str(path))
    except PlanError as error:
        raise ProfileError(str(error)) from None


def _with_neighbours(path: Path) -> dict[str, Any]:
    """A config.json with what vLLM reads beside it: ModelOpt's hf_quant_config.json, where the config itself has none.

    ProfileError for the older files of AWQ and GPTQ, which vLLM reads only when it is told the method.
    """
    values = _json(path)
    if path.name != "config.json" or values.get("quantization_config") is not None:
        return values
    if (beside := path.with_name("hf_quant_config.json")).is_file():
        return {**values, "quantization_config": _json(beside)}
    old = [other for other in ("quantize_config.json", "quant_config.json") if path.with_name(other).is_file()]
    if old and values.get("compression_config") is None:
        raise ProfileError(
            f"{path.with_name(old[0])}: the locked vLLM does not look there, and would load quantised weights as plain "
            f"ones; put what it says into {path.name}, as quantization_config with its quant_method"
        )
    return values


def sizes_of(model: Model) -> dict[str, Any]:
    """A model's sizes by an entry's names; `weights_bytes_on_disk` is what they take in memory, where quantised."""
    quantised = model.quantisation.method != "none"
    attention = model.attention
    return {
        "parameters": parameter_count(model),
        "layers": len(model.layers),
        "hidden_size": model.hidden_size,
        "attention_heads": attention.query_heads,
        "key_value_heads": attention.kv_heads,
        "head_size": attention.head_size,
        "mixture_of_experts": model.is_mixture,
        "quantization": model.quantisation.origin if quantised else "",
        "weights_bytes_on_disk": int(stage_weights(model, WHOLE, 0)) if quantised else 0,
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise ProfileError(
                f"{path}: {path.stat().st_size} bytes are no config.json; give the config, not the weights"
            )
        values = json.loads(path.read_text())
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}; give a file that can be read") from None
    except ValueError as error:
        raise ProfileError(f"{path}: not JSON ({error}); take the file from the model's repository") from None
    if not isinstance(values, dict):
        raise ProfileError(f"{path}: not a JSON object; take config.json from the model's repository")
    return values
