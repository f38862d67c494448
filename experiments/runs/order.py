"""What a run is asked for, and what became of it. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.bundle import layout
from experiments.configuration.resolving import Resolved

Tag = Literal["deploy", "benchmark", "chaos", "collect-telemetry-data"]
DEPLOY, BENCHMARK, CHAOS, TELEMETRY = "deploy", "benchmark", "chaos", "collect-telemetry-data"
TAGS: tuple[Tag, ...] = ("deploy", "benchmark", "chaos", "collect-telemetry-data")
JUDGE = "judge"


@dataclass(frozen=True)
class Order:
    """An experiment to run. `cluster` is as the operator names it; `fetched` is where bundles lie.

    `resume`: the bundle of an earlier sitting that goes on. `origin`, for the journal: suite, its begin, position.
    """

    cluster: str
    resolved: Resolved
    tags: frozenset[str] = frozenset(TAGS)
    fetched: Path = Path(layout.FETCHED)
    resume: Path | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What kind of experiment it is."""
        return self.resolved.parameters.exp_type_identifier


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: its bundle, and what it says of itself (VALID, INVALID, or empty: not judged)."""

    bundle: Path
    verdict: str
    causes: tuple[Mapping[str, Any], ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "experiment_id": self.bundle.name,
            "bundle": str(self.bundle),
            "verdict": self.verdict,
            "causes": [dict(cause) for cause in self.causes],
            "seconds": self.seconds,
        }
