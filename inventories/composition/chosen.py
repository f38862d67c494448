"""What a cluster serves for a while in place of what its inventory says: the model, the number of its engines, how.

The operator's own record beside that of members, written by an experiment that deploys and taken away when it is over;
the inventory file stays as its author wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hardware.model import ProfileError
from inventories.composition.operator import cluster_directory, write_whole
from inventories.composition.serving import Serving


@dataclass(frozen=True)
class Chosen:
    """What is None is as the inventory has it. `model` is a name that an inventory may give; `telemetry` is Site's."""

    model: str | None = None
    replicas: int | None = None
    dtype: str | None = None
    enforce_eager: bool | None = None
    engine: Mapping[str, Any] | None = None
    telemetry: str | None = None


def path(cluster: str) -> Path:
    """The record of a cluster."""
    return cluster_directory(cluster) / "chosen.json"


def read(cluster: str) -> Chosen | None:
    """The record, or None where there is none; ProfileError for one that cannot be read."""
    file = path(cluster)
    try:
        found = Chosen(**json.loads(file.read_text()))
        kinds = {"model": str, "replicas": int, "dtype": str, "enforce_eager": bool, "engine": dict, "telemetry": str}
        for name, kind in kinds.items():
            if not isinstance(getattr(found, name), kind | None):
                raise TypeError(f"{name} is {getattr(found, name)!r}")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ProfileError(
            f"{file}: not a record of a choice ({error}); remove it to serve what the inventory says"
        ) from None


def write(cluster: str, chosen: Chosen) -> None:
    """Replace the record, whole or not at all."""
    write_whole(path(cluster), json.dumps(asdict(chosen)) + "\n")


def forget(cluster: str) -> bool:
    """The inventory's own word again; whether there was a record."""
    file = path(cluster)
    there = file.exists()
    file.unlink(missing_ok=True)
    return there


def apply(servings: Sequence[Serving], chosen: Chosen | None) -> tuple[Serving, ...]:
    """What is served now: the first serving with what was chosen, and no other. Gateway and port are as they were.

    Where nothing of it was chosen, all that the inventory serves.
    """
    if chosen is None:
        return tuple(servings)
    first = servings[0]
    changes: dict[str, Any] = {
        name: value
        for name in ("model", "replicas", "dtype", "enforce_eager", "engine")
        if (value := getattr(chosen, name)) is not None
    }
    if chosen.replicas is not None:
        changes["nodes"] = ()
    return (replace(first, **changes),) if changes else tuple(servings)
