"""Which compute nodes run which model: the one place where that is decided. Pure; nodes by name.

The same inventory always gives the same answer, and little of it moves when nodes come or go: a node keeps its model
for as long as the inventory has it. ProfileError says what cannot be dealt out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hardware.model import ProfileError


@dataclass(frozen=True)
class NodeRequest:
    """What a model asks for: the nodes that it names, or so many of those that nobody named, or (None) of the rest."""

    model: str
    nodes: tuple[str, ...] = ()
    count: int | None = None


def deal(
    inventory: str, requests: Sequence[NodeRequest], declared: Sequence[str], out: Collection[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """Each model's nodes, in the inventory's order. `out` are declared nodes that are not there now.

    Named nodes first, then numbers, in the order of the models; what is left goes round among those that said nothing.
    A node that is out is stood in for by one that no model has, where there is one.
    """
    where = f"inventory {inventory}"
    _refuse(where, requests, declared)
    free = [node for node in declared if not any(node in request.nodes for request in requests)]
    dealt: list[list[str]] = [list(request.nodes) for request in requests]
    for mine, request in zip(dealt, requests, strict=True):
        if not request.nodes and request.count is not None:
            mine += free[: request.count]
            del free[: request.count]
    asking = [
        mine for mine, request in zip(dealt, requests, strict=True) if not request.nodes and request.count is None
    ]
    for index, node in enumerate(free if asking else ()):
        asking[index % len(asking)].append(node)
    spare = [node for node in free if not asking and node not in out]
    found = []
    for mine, request in zip(dealt, requests, strict=True):
        if not mine:
            raise ProfileError(
                f"{where}: no compute node is left for {request.model}; there are {len(declared)} in all"
            )
        there = [node for node in mine if node not in out]
        lost = len(mine) - len(there)
        there += spare[:lost]
        del spare[:lost]
        if not there:
            raise ProfileError(
                f"{where}: every node of {request.model} was taken out; "
                f"take {mine[0]} out of `out` in members.json in the cluster's state"
            )
        found.append(tuple(node for node in declared if node in there))
    return tuple(found)


def _refuse(where: str, requests: Sequence[NodeRequest], declared: Sequence[str]) -> None:
    """ProfileError for a request that cannot be: unknown or twice named nodes, too many of them, a model twice."""
    models = [request.model for request in requests]
    named = [node for request in requests for node in request.nodes]
    for what, entries in (("model", models), ("node", named)):
        if twice := sorted({entry for entry in entries if entries.count(entry) > 1}):
            raise ProfileError(f"{where}: {what} {', '.join(twice)} in more than one Serving; give it to one")
    if strange := sorted(set(named) - set(declared)):
        raise ProfileError(f"{where}: no compute node {', '.join(strange)}; there are {', '.join(declared)}")
    for request in requests:
        if request.count is not None and request.nodes and request.count != len(request.nodes):
            raise ProfileError(
                f"{where}: {request.model} names {len(request.nodes)} nodes and {request.count} replicas; "
                "say one of the two"
            )
        if request.count is not None and not 1 <= request.count <= len(declared):
            raise ProfileError(
                f"{where}: {request.count} replicas on {len(declared)} compute nodes; give 1 to {len(declared)}"
            )
    wanted = len(named) + sum(request.count or 0 for request in requests if not request.nodes)
    if wanted > len(declared):
        raise ProfileError(
            f"{where}: {', '.join(models)} want {wanted} compute nodes and there are {len(declared)}; a node runs one "
            "engine"
        )
