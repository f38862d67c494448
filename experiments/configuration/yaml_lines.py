"""YAML with the line of every key. ConfigurationError for what is no mapping, or names a key twice."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.configuration.errors import ConfigurationError, shown


@dataclass(frozen=True)
class Located:
    """A value and the line of its key, from 1."""

    value: Any
    line: int


Mapping = dict[str, Located]


class _Loader(yaml.SafeLoader):
    """Plain data only."""

    def close(self) -> None:
        self.dispose()


def read(path: Path) -> Mapping:
    """The keys of a file; a key below `experiments` is one of its mappings' again. An empty file has none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "no text"
        raise ConfigurationError([f"{shown(path)}: {said}; give a file that can be read"]) from None
    return parse(text, shown(path))


def parse(text: str, where: str) -> Mapping:
    """The keys of a text; `where` is its name in messages. Values of a list of mappings are read by `items`."""
    try:
        with contextlib.closing(_Loader(text)) as loader:
            node = loader.get_single_node()
            return {} if node is None else _mapping(loader, node, where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        at = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError([f"{where}{at}: no YAML: {said}; mend that line"]) from None
    except RecursionError:
        raise ConfigurationError([f"{where}: nested too deep; an experiment is a flat list of parameters"]) from None


def _mapping(loader: yaml.SafeLoader, node: yaml.Node, where: str) -> Mapping:
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigurationError([f"{where}:{line}: no mapping; write `parameter: value` lines"])
    found: Mapping = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigurationError([f"{where}:{line}: a key that is no word; write `parameter: value` lines"])
        name = str(key.value)
        if name in found:
            raise ConfigurationError(
                [f"{where}:{line}: {name} stands in line {found[name].line} too; keep one of them"]
            )
        found[name] = Located(_value(loader, value, where, name), line)
    return found


def _value(loader: yaml.SafeLoader, node: yaml.Node, where: str, name: str) -> Any:
    """Plain data; `experiments`, `parameters` and `for_each` keep the lines of their own keys."""
    if name == "experiments" and isinstance(node, yaml.SequenceNode):
        return [_mapping(loader, entry, where) for entry in node.value]
    if name in ("parameters", "for_each"):
        return _mapping(loader, node, where)
    return loader.construct_object(node, deep=True)
