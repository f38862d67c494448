"""Which of a cluster's declared compute nodes take part now: the operator's own record, changed by `cluster nodes`.

An inventory says which nodes there could be; this says which of them were taken out for a while. Kept beside the
cluster's secrets, so that an inventory file stays as its author wrote it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hardware.model import ProfileError
from inventories.composition.operator import cluster_directory, write_whole


@dataclass(frozen=True)
class Members:
    """`out`: not part of the cluster. `draining`: still in Ray, but the gateway sends nothing there.

    `count`: how many compute nodes, where an inventory can make them (the laptop); None is the inventory's own number.
    """

    out: tuple[str, ...] = ()
    draining: tuple[str, ...] = ()
    count: int | None = None


def path(cluster: str) -> Path:
    """The record of a cluster."""
    return cluster_directory(cluster) / "members.json"


def read(cluster: str) -> Members:
    """The record, or everybody where there is none; ProfileError for one that cannot be read."""
    file = path(cluster)
    try:
        found = json.loads(file.read_text())
        out, draining, count = found["out"], found["draining"], found["count"]
        if not all(isinstance(name, str) for name in [*out, *draining]) or not (count is None or count > 0):
            raise TypeError("names and a positive number are expected")
        return Members(tuple(out), tuple(draining), count)
    except FileNotFoundError:
        return Members()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ProfileError(f"{file}: not a record of members ({error}); remove it to have every node again") from None


def write(cluster: str, members: Members) -> None:
    """Replace the record, whole or not at all."""
    write_whole(path(cluster), json.dumps(asdict(members)) + "\n")
