"""Which nodes a fault is done to, chosen by name, role or number, and never the one that the controller runs on.

Reads which addresses are this machine's; pure otherwise.
"""

from __future__ import annotations

import difflib
import fnmatch
import random
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from deploys.faults.catalogue import FaultKind, FaultPlanError

Role = Literal["compute", "control", "any"]
ROLES: tuple[Role, ...] = ("compute", "control", "any")
# What is the whole machine's, whichever of its nodes it is done to.
WHOLE_MACHINE_LAYERS = frozenset({"network", "host", "clock"})


class HasRole(Protocol):
    """What of a host's settings is asked here."""

    @property
    def role(self) -> Literal["control", "compute"]:
        """control or compute."""


@dataclass(frozen=True)
class Target:
    """`nodes`: names or patterns (compute*). `count`: so many of those that fit, by the run's seed; None: all."""

    nodes: tuple[str, ...] = ("*",)
    role: Role = "compute"
    count: int | None = None


def resolve(
    target: Target, hosts: Mapping[str, HasRole], kind: FaultKind, *, own: Collection[str], seed: int
) -> list[str]:
    """Names of the nodes, in the inventory's order; FaultPlanError where nothing fits or the controller would be hit.

    `own`: nodes whose system the controller runs on. They are left out where a pattern fits them, refused by name.
    """
    known = list(hosts)
    for pattern in target.nodes:
        if not fnmatch.filter(known, pattern):
            near = difflib.get_close_matches(pattern, known, 1)
            hint = f"did you mean {near[0]!r}" if near else f"there are {', '.join(known)}"
            raise FaultPlanError(f"{kind.name}: {pattern!r} is no node of this cluster; {hint}")
    barred = set(own) if kind.layer in WHOLE_MACHINE_LAYERS else set()
    if named := sorted(barred & set(target.nodes)):
        raise FaultPlanError(
            f"{kind.name}: the controller runs on {', '.join(named)}, which it would hit; run it from another machine"
        )
    found = [
        node
        for node in known
        if any(fnmatch.fnmatchcase(node, pattern) for pattern in target.nodes)
        and (target.role in ("any", hosts[node].role) or node in target.nodes)
        and node not in barred
    ]
    if not found:
        why = f"but those that the controller runs on ({', '.join(sorted(barred))})" if barred else "that fits"
        raise FaultPlanError(f"{kind.name}: no {target.role} node {why}: {', '.join(target.nodes)}")
    if target.count is None:
        return found
    if target.count > len(found):
        raise FaultPlanError(f"{kind.name}: {target.count} nodes are wanted and {len(found)} fit: {', '.join(found)}")
    chosen = set(random.Random(f"{seed} {kind.name}").sample(found, target.count))  # noqa: S311 (a choice, no secret)
    return [node for node in found if node in chosen]


def own_nodes(addresses: Mapping[str, str]) -> list[str]:
    """Nodes (name -> address) whose address is this machine's: a socket can be bound to it."""
    return [node for node, address in addresses.items() if _is_mine(address)]


def _is_mine(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError:
            return False
    return True


def from_value(where: str, value: object) -> Target:
    """A target of a plan: a name, a list of names, or {nodes, role, count}; FaultPlanError says what is wrong."""
    if isinstance(value, str):
        return Target((value,), "any" if "*" not in value else "compute")
    if isinstance(value, Sequence):
        return Target(_names(where, value), "any" if not any("*" in str(one) for one in value) else "compute")
    if not isinstance(value, Mapping):
        raise FaultPlanError(f"{where}: target is {value!r}; give a node's name, a list of them, or nodes, role, count")
    if unknown := sorted(set(map(str, value)) - {"nodes", "role", "count"}):
        raise FaultPlanError(f"{where}: target has an unknown {unknown[0]!r}; it takes nodes, role, count")
    role, count = value.get("role", "compute"), value.get("count")
    if role not in ROLES:
        raise FaultPlanError(f"{where}: role is {role!r}; choose from {', '.join(ROLES)}")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise FaultPlanError(f"{where}: count is {count!r}; give a whole number from 1 on")
    nodes = value.get("nodes", ("*",))
    return Target(_names(where, [nodes] if isinstance(nodes, str) else nodes), role, count)


def _names(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise FaultPlanError(f"{where}: nodes is {value!r}; give a list of names")
    if wrong := [one for one in value if not isinstance(one, str) or not one]:
        raise FaultPlanError(f"{where}: {wrong[0]!r} is no node's name")
    return tuple(value)
