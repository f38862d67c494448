"""A suite: experiments that are run one after the other, each with its layers. A file of one experiment is one too.

description: what it is for
parameters: {...}                 of all of its experiments
experiments:
  - exp_type_identifier: fault-{chaos_experiment_scenario}
    for_each: {chaos_experiment_scenario: [cpu-pressure, network-delay]}
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.configuration import yaml_lines
from experiments.configuration.errors import ConfigurationError, Place, shown
from experiments.configuration.yaml_lines import Located

SUITES = Path(__file__).parent.parent / "suites"
KEYS = ("description", "parameters", "experiments")
Given = dict[str, tuple[Any, Place]]


@dataclass(frozen=True)
class Suite:
    """A file's experiments: for each its own parameters with their places, before the layers below."""

    name: str
    file: Path
    description: str
    experiments: tuple[Given, ...]


def names() -> list[str]:
    """Suites that come with the project."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def find(given: str) -> Path:
    """The file of a suite by its name, or of an experiment or suite by its path; ConfigurationError for neither."""
    path = Path(given).expanduser()
    if path.is_file():
        return path
    own = SUITES / f"{given}.yaml"
    if re.fullmatch(r"[a-z0-9_-]+", given) and own.is_file():
        return own
    raise ConfigurationError([f"{given}: neither a file nor a suite; the suites are {', '.join(names())}"])


def load(given: str) -> Suite:
    """A suite, its `for_each` spread out; ConfigurationError with file and line."""
    path = find(given)
    where, read = shown(path), yaml_lines.read(path)
    if "experiments" not in read:
        return Suite(path.stem, path, "", tuple(_spread(read, {}, where, "experiment")))
    strange = [name for name in read if name not in KEYS]
    if strange:
        raise ConfigurationError(
            [
                f"{where}:{read[name].line}: {name} beside `experiments`; what all share stands under `parameters`"
                for name in strange
            ]
        )
    listed = read["experiments"].value
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError([f"{where}:{read['experiments'].line}: experiments is no list; write `- ...` entries"])
    shared = read["parameters"].value if "parameters" in read else {}
    common = {name: (each.value, Place("suite", where, each.line)) for name, each in shared.items()}
    found = [given for entry in listed for given in _spread(entry, common, where, "experiment")]
    description = read["description"].value if "description" in read else ""
    return Suite(path.stem, path, str(description or ""), tuple(found))


def _spread(entry: yaml_lines.Mapping, common: Given, where: str, layer: str) -> list[Given]:
    own = {name: (each.value, Place(layer, where, each.line)) for name, each in entry.items() if name != "for_each"}
    each = entry.get("for_each")
    if each is None:
        return [{**common, **own}]
    axes = _axes(each, where)
    found = []
    for values in itertools.product(*([(name, value, line) for value in listed] for name, listed, line in axes)):
        chosen = {name: (value, Place(layer, where, line)) for name, value, line in values}
        found.append({**common, **{name: _filled(given, chosen) for name, given in own.items()}, **chosen})
    return found


def _axes(each: Located, where: str) -> list[tuple[str, list[Any], int]]:
    found = []
    for name, values in each.value.items():
        if not isinstance(values.value, list) or not values.value:
            raise ConfigurationError(
                [f"{where}:{values.line}: for_each of {name} is {values.value!r}; give a list of values"]
            )
        found.append((name, values.value, values.line))
    return found


def _filled(given: tuple[Any, Place], chosen: Given) -> tuple[Any, Place]:
    """`fault-{chaos_experiment_scenario}` with the value that is its turn."""
    value, place = given
    if not isinstance(value, str):
        return given
    for name, (chose, _) in chosen.items():
        value = value.replace(f"{{{name}}}", _word(chose))
    return value, place


def _word(value: Any) -> str:
    """A value as a part of an identifier: `[cpu-pressure, network-loss]` is `cpu-pressure-and-network-loss`."""
    if isinstance(value, list):
        return "-and-".join(map(_word, value)) or "none"
    return re.sub(r"[^a-z0-9-]+", "-", str(value).lower()).strip("-")
