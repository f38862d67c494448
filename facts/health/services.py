"""Whether a service's state at one moment is health. Pure; seconds.

A service that ends as soon as it starts is called active, or about to be, at any moment that one looks: its restarts
and how long it has run tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from facts.health.result import CheckResult

Condition = Literal["running", "starting", "restarting", "stopped"]

LOOP_RESTARTS = 2
YOUNG_SECONDS = 20.0
"""A service that was started anew at least so often, and runs for less than this, has not stopped ending yet."""

_STARTING = ("activating", "STARTING")
_RESTARTING = ("activating/auto-restart", "activating/auto-restart-queued", "BACKOFF")


def condition(state: Mapping[str, Any]) -> Condition:
    """What a `ServiceState`, as plain data, amounts to; an empty one is stopped."""
    said, restarts = str(state.get("manager_state") or ""), state.get("restarts") or 0
    up_seconds = state.get("up_seconds")
    if said in _RESTARTING:
        return "restarting"
    if state.get("active"):
        young = up_seconds is not None and up_seconds < YOUNG_SECONDS
        return "restarting" if young and restarts >= LOOP_RESTARTS else "running"
    if said.startswith(_STARTING):
        return "restarting" if restarts >= LOOP_RESTARTS else "starting"
    return "stopped"


def has_process(state: Mapping[str, Any]) -> bool:
    """Whether what listens on a service's ports may be the service itself."""
    said = str(state.get("manager_state") or "")
    return bool(state.get("active")) or (said.startswith(_STARTING) and said not in _RESTARTING)


def trouble(state: Mapping[str, Any]) -> str:
    """What is wrong with it in words that go behind its name; empty for one that runs."""
    found = condition(state)
    if found == "running":
        return ""
    said = str(state.get("manager_state") or "")
    problem = {
        "starting": "is not running yet",
        "restarting": "ends and is started again and again",
        "stopped": "is not running",
    }[found]
    facts = [said] if said else []
    if restarts := state.get("restarts"):
        facts.append(f"{restarts} restart{'' if restarts == 1 else 's'}")
    if found == "restarting" and state.get("up_seconds") is not None:
        facts.append(f"up for {state['up_seconds']:.0f} s")
    detail = f"{problem} ({', '.join(facts)})" if facts else problem
    words = str(state.get("last_words") or "")
    return f"{detail}; its last words: {words}" if words else detail


def loop_checks(node: str, states: Mapping[str, Mapping[str, Any]], log_of: Callable[[str], str]) -> list[CheckResult]:
    """One result for each service in a crash loop; none for those that run or were stopped.

    `log_of`: where the words of a service are, by its name.
    """
    return [
        CheckResult("service", False, f"{node}: {name} {trouble(state)}", read_log(node, log_of(name)))
        for name, state in states.items()
        if condition(state) == "restarting"
    ]


def read_log(node: str, log: str) -> str:
    """The remedy for a service that ends by itself."""
    return f"mend what its log names: {log} on {node}"
