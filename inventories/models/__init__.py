"""Models that the inventories serve: what they are, where they come from and the answer that proves them.

The catalogue is the YAML files beside this one, a file a kind of task; configs/ has the config.json of models whose
shape is known. `places.py` says what a name may be. ProfileError says what is wrong.
"""

from __future__ import annotations

from inventories.models.catalogue import Entry, load
from inventories.models.places import find


def entry(name: str) -> Entry:
    """The model of that name; ProfileError that lists the known ones, or says why a hub id or a path is none."""
    return find(name)


def entries() -> tuple[Entry, ...]:
    """The catalogue, by name."""
    return tuple(model for _, model in sorted(load().items()))
