"""A fault as others see it: when it was there, where, and how it was healed. Pure; unix seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

HEALERS = ("controller", "timer", "cluster")


@dataclass(frozen=True)
class FaultWindow:
    """One fault on its nodes. None: not yet, or never seen. Times are of the controller's clock.

    `began`: the first host was told. `took_effect`: the first host showed it. `healed`: the last host was read back
    without it. `healed_by`: controller, timer (of the host), cluster (which mends what nobody undoes), "" for neither.
    """

    name: str
    layer: str
    nodes: list[str]
    began: float
    took_effect: float | None = None
    healed_asked: float | None = None
    healed: float | None = None
    healed_by: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    detail: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it was read back that nothing of it is left."""
        return self.healed is not None

    def covers(self, at: float) -> bool:
        """Whether something of the fault may have been there at that time."""
        return self.began <= at and (self.healed is None or at <= self.healed)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def from_json(value: Mapping[str, Any]) -> FaultWindow:
    """The window that `to_json` wrote; ValueError for another shape, which names what is wrong with it."""
    known = {one.name for one in fields(FaultWindow)}
    if unknown := sorted(set(value) - known):
        raise ValueError(f"a fault's window has no {', '.join(unknown)}")
    try:
        return FaultWindow(**value)
    except TypeError as error:
        raise ValueError(f"no fault's window: {error}") from None


def write(path: Path, windows: Iterable[FaultWindow]) -> None:
    """results/faults.json, replaced in one step."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps([window.to_json() for window in windows], indent=1) + "\n")
    new.replace(path)


def read(path: Path) -> list[FaultWindow]:
    """What `write` wrote; ValueError names the file that holds anything else."""
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, list):
            raise ValueError("not a list")
        return [from_json(one) for one in value]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def journal_line(event: str, at: float, window: FaultWindow) -> dict[str, Any]:
    """A line of the journal; `event` is began, took effect, healed or failed."""
    return {"at": at, "kind": "fault", "event": event, **window.to_json()}


def from_journal(lines: Iterable[Mapping[str, Any]]) -> list[FaultWindow]:
    """The last state of every fault that a journal tells of, in the order in which they began.

    What a run that was killed leaves of its faults; chaos.read_back completes it from the hosts.
    """
    found: dict[tuple[str, float], FaultWindow] = {}
    for line in lines:
        if line.get("kind") == "fault":
            window = from_json({key: value for key, value in line.items() if key not in ("at", "kind", "event")})
            found[window.name, window.began] = window
    return list(found.values())
