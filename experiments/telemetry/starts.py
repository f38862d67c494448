"""What was heard during a cold start, judged, and the Markdown of `cold_starts`. Pure; seconds since the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments import measures

GATEWAY = "gateway"
READY, ANSWER = "ready", "answer"


@dataclass(frozen=True)
class Event:
    """Something that was heard. `source` is the gateway or a node; `right`: it is ready, or the answer is right."""

    at: float
    source: str
    kind: str
    status: int
    right: bool
    detail: str = ""


def judge_start(events: Sequence[Event], nodes: Sequence[str]) -> dict[str, Any]:
    """Figures and misses of one start.

    False ready: any answer with status 200 that is not right, any answer of a replica asked after it had said that it
    is ready that is not right, or a failed answer of the gateway after its first right one.
    """
    ordered = sorted(events, key=lambda event: event.at)
    answers = [event for event in ordered if event.kind == ANSWER]
    ready = {node: _first(ordered, node, READY) for node in nodes}
    proven = {node: _first(ordered, node, ANSWER) for node in nodes}
    first = _first(ordered, GATEWAY, ANSWER)
    false_ready = [
        f"{event.source} after {event.at:.1f} s: {event.status} {event.detail[:160]}"
        for event in answers
        if not event.right and (event.status == 200 or event.source in nodes)
    ]
    dropped = [
        f"gateway after {event.at:.1f} s, {event.at - first:.1f} s after its first right answer: {event.detail[:160]}"
        for event in answers
        if first is not None
        and event.source == GATEWAY
        and event.at > first
        and not event.right
        and event.status != 200
    ]
    misses = [f"false ready: {line}" for line in [*false_ready, *dropped]]
    if first is None:
        misses.append("the gateway never answered rightly")
    misses += [f"{node} never gave the golden answer" for node, at in proven.items() if at is None]
    return {
        "first_answer_seconds": _rounded(first),
        "ready_seconds": {node: _rounded(at) for node, at in ready.items()},
        "proven_seconds": {node: _rounded(at) for node, at in proven.items()},
        "asked_before_ready": sum(event.source == GATEWAY and event.at < (first or float("inf")) for event in answers),
        "answers": sum(event.right for event in answers),
        "correct": first is not None and None not in proven.values() and not false_ready,
        "false_ready": len(false_ready) + len(dropped),
        "misses": misses,
    }


def _first(events: Sequence[Event], source: str, kind: str) -> float | None:
    return next((event.at for event in events if event.source == source and event.kind == kind and event.right), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def total(starts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of all starts."""
    nodes = sorted({node for start in starts for node in start["ready_seconds"]})
    return {
        "starts": len(starts),
        "correct": sum(start["correct"] for start in starts),
        "false_ready": sum(start["false_ready"] for start in starts),
        "first_answer": _spread(start["first_answer_seconds"] for start in starts),
        "ready": {node: _spread(start["ready_seconds"].get(node) for start in starts) for node in nodes},
        "proven": {node: _spread(start["proven_seconds"].get(node) for start in starts) for node in nodes},
        "command": _spread(start.get("command_seconds") for start in starts),
    }


def _spread(values: Any) -> dict[str, Any]:
    return measures.spread([value for value in values if value is not None])
