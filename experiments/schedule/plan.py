"""A plan of faults: read from plain values, checked before anything is done, and placed on nodes. Pure.

A fault in a plan is {fault, target, begin_seconds, hold_seconds, parameters, claims}; times are from the plan's start.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploys.faults import catalogue
from deploys.faults.catalogue import FaultKind, FaultPlanError
from experiments.schedule import targets
from experiments.schedule.targets import HasRole, Target

_KEYS = ("fault", "target", "begin_seconds", "hold_seconds", "parameters", "claims")
DEFAULT_HOLD_SECONDS = 60.0


@dataclass(frozen=True)
class PlannedFault:
    """One fault of a plan. `parameters` are whole; `claims` are what its result may be read as, checked."""

    name: str
    target: Target = field(default_factory=Target)
    begin_seconds: float = 0.0
    hold_seconds: float = DEFAULT_HOLD_SECONDS
    parameters: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[str, ...] = ()

    @property
    def kind(self) -> FaultKind:
        """Its entry in the catalogue."""
        return catalogue.kind_of(self.name)

    @property
    def end_seconds(self) -> float:
        """When it is healed."""
        return self.begin_seconds + self.hold_seconds


@dataclass(frozen=True)
class PlacedFault:
    """A planned fault and the nodes that it is done to."""

    planned: PlannedFault
    nodes: tuple[str, ...]


def planned(name: str, target: Target | None = None, **given: Any) -> PlannedFault:
    """One fault, its parameters completed and its claims checked; FaultPlanError says what is wrong."""
    value = {"fault": name, **given}
    made = from_value(f"fault {name}", value)
    return PlannedFault(
        made.name, target or made.target, made.begin_seconds, made.hold_seconds, made.parameters, made.claims
    )


def from_values(values: object) -> tuple[PlannedFault, ...]:
    """A whole plan from a list of mappings, as YAML gives it; FaultPlanError names the entry and the key."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise FaultPlanError(f"a plan of faults is a list, not {type(values).__name__}")
    return tuple(from_value(f"fault {place + 1}", value) for place, value in enumerate(values))


def from_value(where: str, value: object) -> PlannedFault:
    """One fault from a mapping, or from its bare name."""
    if isinstance(value, str):
        value = {"fault": value}
    if not isinstance(value, Mapping) or "fault" not in value:
        raise FaultPlanError(f"{where} is {value!r}; give at least `fault: NAME`")
    for key in value:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, 1)
            hint = f"did you mean {near[0]!r}" if near else f"it takes {', '.join(_KEYS)}"
            raise FaultPlanError(f"{where}: unknown key {key!r}; {hint}")
    kind = catalogue.kind_of(str(value["fault"]))
    given = value.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise FaultPlanError(f"{where}: parameters is {given!r}; give names with values")
    claims = value.get("claims") or ()
    if isinstance(claims, str):
        claims = (claims,)
    catalogue.check_claims(kind, tuple(map(str, claims)))
    return PlannedFault(
        kind.name,
        targets.from_value(where, value["target"]) if "target" in value else Target(),
        _seconds(where, "begin_seconds", value.get("begin_seconds", 0.0), 0.0),
        _seconds(where, "hold_seconds", value.get("hold_seconds", DEFAULT_HOLD_SECONDS), 1.0),
        catalogue.parameters_of(kind, given),
        tuple(map(str, claims)),
    )


def _seconds(where: str, key: str, value: object, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= catalogue.MOST_SECONDS:
        raise FaultPlanError(f"{where}: {key} is {value!r}; give seconds from {least:g} to {catalogue.MOST_SECONDS:g}")
    return float(value)


def place(
    plan: Sequence[PlannedFault], hosts: Mapping[str, HasRole], *, own: Collection[str] = (), seed: int = 0
) -> tuple[PlacedFault, ...]:
    """The plan on these nodes; FaultPlanError where a target fits none, or where two faults exclude each other."""
    placed = tuple(
        PlacedFault(one, tuple(targets.resolve(one.target, hosts, one.kind, own=own, seed=seed + number)))
        for number, one in enumerate(plan)
    )
    for number, first in enumerate(placed):
        for second in placed[number + 1 :]:
            overlap = (
                first.planned.begin_seconds < second.planned.end_seconds
                and second.planned.begin_seconds < first.planned.end_seconds
            )
            if overlap and set(first.nodes) & set(second.nodes):
                catalogue.check_together((first.planned.name, second.planned.name))
    return placed
