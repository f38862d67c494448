"""Models that the inventories serve: what they are, where they come from and the answer that proves them.

The catalogue is the YAML files beside this one, a file a kind of task. A name is one of theirs, `hub:OWNER/NAME` with
an optional `@REVISION`, or the absolute path of a directory with a config.json. ProfileError says what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardware.model import ProfileError
from inventories.models.anywhere import from_directory, from_hub
from inventories.models.catalogue import Entry, load

# What a host's settings know of a model; `details` has the rest.
_SETTINGS_KEYS = (
    "name",
    "source",
    "golden",
    "maximum_length",
    "mixture_of_experts",
    "attention_heads",
    "engine",
    "engine_kind",
    "task",
)


def entry(name: str) -> Entry:
    """The model of that name; ProfileError that lists the known ones, or says why a hub id or a path is none."""
    if name.startswith("hub:"):
        return from_hub(name)
    if name.startswith("/"):
        return from_directory(Path(name))
    known = load()
    if name not in known:
        raise ProfileError(
            f"model {name!r} is not known; known are {', '.join(sorted(known))} (inventories/models/*.yaml); "
            "or write hub:OWNER/NAME@REVISION, or a directory's absolute path"
        )
    return known[name]


def entries() -> tuple[Entry, ...]:
    """The catalogue, by name."""
    return tuple(model for _, model in sorted(load().items()))


def model(name: str) -> dict[str, Any]:
    """Plain data of a model for a host's settings, with the `name` that is served; `engine` only where it has some."""
    data = details(name)
    return {key: data[key] for key in _SETTINGS_KEYS if key in data}


def details(name: str) -> dict[str, Any]:
    """As `model`, with everything that the catalogue says of it: `engine_kind`, `task`, `dtypes`, `licence`, sizes."""
    return entry(name).to_data()
