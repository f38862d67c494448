"""The layers of an experiment over each other: base, engine, model, suite, experiment, command line; the later wins.

Each value keeps its file and line. The project's layers are in layers/; a folder `configs` beside the experiment's file
adds `config_base.yaml`, `config_ENGINE.yaml` and `config_MODEL.yaml`, each over the project's own of its kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from experiments.configuration import yaml_lines
from experiments.configuration.errors import ConfigurationError, Place, shown
from experiments.configuration.parameters import KUBERNETES_ONLY, LISTS, NAMES, TYPES, Parameters
from experiments.configuration.suites import Given, Suite
from hardware.model import ProfileError
from inventories import models

LAYERS = Path(__file__).parent / "layers"
CONFIGS = "configs"
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Resolved:
    """An experiment whose every value is known, with the place that it is from."""

    parameters: Parameters
    places: Mapping[str, Place]

    def values(self) -> dict[str, Any]:
        """Plain data, in the order of the parameters."""
        found: dict[str, Any] = msgspec.to_builtins(self.parameters)
        return found

    def text(self) -> str:
        """As experiment.yaml of a bundle has it; read again, it is the same experiment."""
        return yaml.safe_dump(self.values(), sort_keys=False, allow_unicode=True, width=120)

    def sources(self) -> dict[str, Any]:
        """Parameter -> layer, file and line, as experiment.sources.json has it."""
        return {name: place.to_json() for name, place in self.places.items()}


def command_line(given: Iterable[str]) -> Given:
    """`key=value` words of -e; values are YAML, a list may be written `1,2,4`. ConfigurationError for another word."""
    found: Given = {}
    for number, word in enumerate(given, start=1):
        name, equals, text = word.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError([f"-e {word!r}: no `key=value`; as in -e llm_benchmark_duration=30"])
        place = Place(COMMAND_LINE, f"-e ({number})", 0)
        name = name.strip()
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            said = getattr(error, "problem", None) or "no YAML"
            raise ConfigurationError([f"-e {name}: {text!r}: {said}; quote it as YAML does"]) from None
        if name in LISTS and isinstance(value, str) and "," in value:
            value = [yaml.safe_load(part) for part in value.split(",")]
        found[name] = (value, place)
    return found


def resolve(suite: Suite, position: int, extra: Given, default_model: str) -> Resolved:
    """One experiment of a suite over its layers; ConfigurationError with all that is wrong.

    `default_model`: the cluster's, for experiments that name none.
    """
    own = {**suite.experiments[position], **extra}
    folder = suite.file.absolute().parent / CONFIGS
    base = _layers("base", (LAYERS / "base.yaml", folder / "config_base.yaml"))
    chosen = (own.get("model_id") or base.get("model_id") or (None, None))[0]
    name = str(chosen or default_model)
    problems: list[str] = []
    engine = "vllm"
    try:
        engine = models.entry(name).engine_kind
    except ProfileError as error:
        place = (own.get("model_id") or base.get("model_id") or (None, Place("cluster", "the cluster's inventory", 0)))[
            1
        ]
        problems.append(f"{place}: {error}")
    slug = name.rpartition("/")[2]
    found: Given = {
        **base,
        **_layers("engine", (LAYERS / f"engine_{engine}.yaml", folder / f"config_{engine}.yaml")),
        **_layers("model", (LAYERS / f"model_{slug}.yaml", folder / f"config_{slug}.yaml")),
        **own,
    }
    if chosen is None:
        found["model_id"] = (name, Place("cluster", "the cluster's inventory", 0))
    return _checked(found, problems)


def again(values: Mapping[str, Any], sources: Mapping[str, Any], where: str) -> Resolved:
    """An experiment from a bundle: its values, with the places that they had; ConfigurationError for what is none."""
    found: Given = {}
    for name, value in values.items():
        place = sources.get(name)
        known = isinstance(place, Mapping) and {"layer", "file", "line"} <= set(place)
        found[name] = (
            value,
            Place(str(place["layer"]), str(place["file"]), int(place["line"])) if known else Place("bundle", where, 0),  # type: ignore[index]
        )
    return _checked(found, [])


def _layers(layer: str, files: Sequence[Path]) -> Given:
    found: Given = {}
    for path in files:
        if path.is_file():
            for name, each in yaml_lines.read(path).items():
                found[name] = (each.value, Place(layer, shown(path), each.line))
    return found


def _checked(found: Given, problems: list[str]) -> Resolved:
    values: dict[str, Any] = {}
    for name, (value, place) in found.items():
        if name not in TYPES:
            problems.append(f"{place}: {unknown(name)}")
            continue
        if name in LISTS:
            value = _listed(value)
        try:
            values[name] = msgspec.convert(value, TYPES[name])
        except msgspec.ValidationError as error:
            problems.append(f"{place}: {name} is {value!r}: {_said(error)}")
    missing = [name for name in NAMES if name not in found]
    if missing:
        problems.append(f"no value for {', '.join(missing)} in any layer; give it in the experiment's file")
    if problems:
        raise ConfigurationError(problems)
    return Resolved(Parameters(**values), {name: found[name][1] for name in NAMES})


def unknown(name: str) -> str:
    """What to say of a key that is no parameter: the nearest one, or what has its place."""
    if name in KUBERNETES_ONLY:
        return f"{name} is for Kubernetes alone; on hosts {KUBERNETES_ONLY[name]}; take it out"
    near = difflib.get_close_matches(name, NAMES, 1, 0.6)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "keys of your own go under `custom`; `cluster experiment schema` has all"
    )
    return f"unknown key {name}; {hint}"


def _listed(value: Any) -> Any:
    """One value for a list of one; `none` and nothing for an empty one."""
    if value is None or value == "none":
        return []
    return value if isinstance(value, list) else [value]


def _said(error: msgspec.ValidationError) -> str:
    text = str(error)
    return f"{text[0].lower()}{text[1:]}" if text else "not of its kind"
