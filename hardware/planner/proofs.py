"""Holds explanations against the run itself: did the time move as predicted from one point to the next? Pure.

A pair is two points of one shape and placement that differ in the batch, in the context or in the path alone. The
explanation predicts by how much the time changes from one to the other; the run says by how much it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardware.planner.explain import Finding
from hardware.planner.points import Point

# A factor between predicted and measured change up to which a prediction counts as met.
HELD = 1.25


@dataclass(frozen=True)
class Proof:
    """A change from one point to another: the time's predicted and measured factor."""

    what: str
    start: str
    predicted_factor: float
    measured_factor: float

    @property
    def held(self) -> bool:
        """Whether the time moved as predicted."""
        ratio = self.measured_factor / self.predicted_factor
        return 1 / HELD <= ratio <= HELD


def prove(findings: Sequence[Finding]) -> tuple[Proof, ...]:
    """A proof for each point with a partner: the nearest smaller batch, the nearest shorter context, another path."""
    found: list[Proof] = []
    for finding in findings:
        point = finding.point
        others = [other for other in findings if _alike(point, other.point)]
        batches = [
            other
            for other in others
            if _same(point, other.point, "context", "path") and other.point.step.sequences < point.step.sequences
        ]
        contexts = [
            other
            for other in others
            if _same(point, other.point, "sequences", "path")
            and other.point.step.context_tokens < point.step.context_tokens
        ]
        if batches:
            partner = max(batches, key=lambda other: other.point.step.sequences)
            fewer = partner.point.step.sequences
            found.append(_proof(f"{fewer} sequence{'s' if fewer > 1 else ''} instead", finding, partner))
        if contexts:
            partner = max(contexts, key=lambda other: other.point.step.context_tokens)
            found.append(_proof(f"{partner.point.step.context_tokens:.0f} tokens instead", finding, partner))
        for partner in others:
            if _same(point, partner.point, "sequences", "context") and partner.point.path > point.path:
                found.append(_proof(f"over {partner.point.path} instead", finding, partner))
    return tuple(found)


def _proof(what: str, finding: Finding, partner: Finding) -> Proof:
    return Proof(
        what=what,
        start=finding.point.name,
        predicted_factor=partner.timing.seconds / finding.timing.seconds,
        measured_factor=partner.point.seconds / finding.point.seconds,
    )


def _alike(one: Point, other: Point) -> bool:
    return (
        one is not other
        and one.shape == other.shape
        and one.model == other.model
        and one.sharding == other.sharding
        and one.options == other.options
        and one.step.prefill == other.step.prefill
    )


def _same(one: Point, other: Point, *names: str) -> bool:
    values = {
        "sequences": (one.step.sequences, other.step.sequences),
        "context": (one.step.context_tokens, other.step.context_tokens),
        "path": (one.path, other.path),
    }
    return all(values[name][0] == values[name][1] for name in names)
