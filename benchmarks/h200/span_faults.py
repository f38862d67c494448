"""Faults of a rank of one engine over two nodes, under load: what was seen when, how it was named, what was lost.

The near rank is on the replica's node, the far one on the other. Unix seconds in, seconds after the fault out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.h200 import one_machine
from deploys.environment import proof_record_path, token_path
from deploys.settings import Settings
from experiments.answers import HUNG, RIGHT, Outcome, Question
from experiments.errors import ExperimentError
from experiments.load.client import Endpoint, client, clock
from experiments.load.constant import Load
from facts.programs import direct, ray_rest

CONCURRENT, DEADLINE_SECONDS = 8, 90.0
STEADY_SECONDS, AFTER_SECONDS = 4.0, 3.0
RECOVER_SECONDS = 150.0
_RANK, _REPLICA, _RAYLET = ("ray::RayWorkerProc", "VLLM::Worker"), ("ray::ServeReplica",), ("raylet/raylet",)


@dataclass(frozen=True)
class Fault:
    """A signal to a process of the far or the near node."""

    number: signal.Signals
    near: bool
    marks: tuple[str, ...] = _RANK


FAULTS = {
    "far rank killed": Fault(signal.SIGKILL, near=False),
    "far rank stopped": Fault(signal.SIGSTOP, near=False),
    "near rank killed": Fault(signal.SIGKILL, near=True),
    "far Ray node gone": Fault(signal.SIGKILL, near=False, marks=_RAYLET),
}


@dataclass
class Watch:
    """What the engine's places, its record and Serve say, with the time at which they first said it."""

    nodes: tuple[Settings, ...]
    seen: float | None = None
    named: str = ""
    ready_again: float | None = None
    said: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)

    def look(self, serve_too: bool) -> None:
        """Ask once."""
        ready = [place for place in one_machine.engine_places(self.nodes) if self._ready(place)]
        if not ready and self.seen is None:
            self.seen = clock()
            self._note("no replica says that it is ready")
        if ready and self.seen is not None and self.ready_again is None:
            self.ready_again = clock()
        for node in self.nodes:
            self._read_record(Path(proof_record_path(node)))
        if serve_too:
            self._ask_serve()

    def _read_record(self, record: Path) -> None:
        """What engines wrote down of their ends, and who is to blame: they say it last, and are gone then."""
        with contextlib.suppress(OSError):
            for line in record.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if event.get("event") in ("blame", "end") and event["at"] >= self.begun:
                        self._note(f"record: {event.get('reason', '')}")

    def _ready(self, place: str) -> bool:
        try:
            with direct.opened(f"{place}/cluster/ready", 1.0):
                return True
        except urllib.error.HTTPError as error:
            with contextlib.suppress(OSError, ValueError):
                reason = str(json.loads(error.read())["reason"])
                self.named = self.named or reason
                self._note(f"replica: {reason}")
            return False
        except OSError:
            return False

    def _ask_serve(self) -> None:
        head = self.nodes[0]
        url = f"http://{head.head_address}:{head.ray.ports.dashboard}{ray_rest.APPLICATIONS}"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            answer = ray_rest.request(url, token_file=token_path(head), seconds=2.0)
            for application in answer.get("applications", {}).values():
                for deployment in application.get("deployments", {}).values():
                    self._note(
                        f"Serve: {deployment.get('status')} {' '.join(str(deployment.get('message')).split())[:500]}"
                    )

    def _note(self, words: str) -> None:
        self.said.setdefault(words, clock())


def done(nodes: tuple[Settings, ...], fault: str, seconds: float) -> dict[str, Any]:
    """Load, the fault, and what became of both, until the engine answers rightly again or `seconds` are over."""
    return asyncio.run(_done(nodes, fault, min(seconds, RECOVER_SECONDS)))


async def _done(nodes: tuple[Settings, ...], name: str, seconds: float) -> dict[str, Any]:
    head, fault, watch = nodes[0], FAULTS[name], Watch(nodes)
    golden = head.model.golden
    question = Question(str(golden["question"]), 64, str(golden["expected"]))
    async with client() as session:
        load = Load(session, Endpoint(head.endpoint, head.model.name), [question], CONCURRENT, DEADLINE_SECONDS)
        async with load.running():
            await asyncio.sleep(STEADY_SECONDS)
            victim = victim_of(nodes, fault)
            at, under_way = clock(), set(load.under_way)
            os.kill(victim[0], fault.number)
            deadline, turn = time.monotonic() + seconds, 0
            while time.monotonic() < deadline and _recovered(load.outcomes, watch) is None:
                await asyncio.to_thread(watch.look, turn % 5 == 0)
                turn += 1
                await asyncio.sleep(0.1)
            if _recovered(load.outcomes, watch) is not None:
                await asyncio.sleep(AFTER_SECONDS)
    return {
        "fault": name,
        "node": victim[1],
        "process": victim[2],
        **judged(load.outcomes, under_way, at, watch.seen, _recovered(load.outcomes, watch)),
        "ready_again": _after(watch.ready_again, at),
        "named": watch.named,
        "said": {words: _after(when, at) for words, when in watch.said.items()},
    }


def victim_of(nodes: Sequence[Settings], fault: Fault) -> tuple[int, str, str]:
    """(pid, node, command line) of what the fault ends; ExperimentError when there is no such process."""
    found = {(node, pid): _line(pid) for pid, node in one_machine.processes(tuple(nodes)).items()}
    near = {node for (node, _), line in found.items() if any(mark in line for mark in _REPLICA)}
    workers = {node.node for node in nodes if not node.is_control}
    there = near if fault.near else workers - near
    for (node, pid), line in sorted(found.items()):
        if node in there and any(mark in line for mark in fault.marks):
            return pid, node, line[:80]
    lines = sorted(f"{node}: {line[:60]}" for (node, _), line in found.items())
    raise ExperimentError(f"no process {' or '.join(fault.marks)} on {', '.join(sorted(there))}; there are {lines}")


def _line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _recovered(outcomes: Sequence[Outcome], watch: Watch) -> float | None:
    """When the first right answer came to a question that was asked after the fault was seen."""
    if watch.seen is None:
        return None
    seen = watch.seen
    return min((one.ended for one in outcomes if one.kind == RIGHT and one.started > seen), default=None)


def judged(
    outcomes: Sequence[Outcome], under_way: set[int], at: float, seen: float | None, recovered: float | None
) -> dict[str, Any]:
    """Times after the fault, and what became of the requests under way at it and of those asked later. Pure."""
    until = recovered or float("inf")
    begun = [one for one in outcomes if one.number in under_way]
    later = [one for one in outcomes if one.started >= at and one.started < until]
    failed: Callable[[Sequence[Outcome]], list[Outcome]] = lambda some: [one for one in some if one.kind != RIGHT]  # noqa: E731
    lost = failed([*begun, *later])
    return {
        "seen": _after(seen, at),
        "recovered": _after(recovered, at),
        "under_way": len(begun),
        "under_way_lost": len(failed(begun)),
        "under_way_lost_without_a_byte": sum(1 for one in failed(begun) if one.first_byte is None),
        "later": len(later),
        "later_failed": len(failed(later)),
        "hung": sum(1 for one in lost if one.kind == HUNG),
        "longest_seconds": round(max((one.seconds for one in [*begun, *later]), default=0.0), 1),
        "kinds": dict(Counter(one.kind for one in [*begun, *later])),
        "details": [detail for detail, _ in Counter(one.detail for one in lost).most_common(6)],
    }


def _after(when: float | None, at: float) -> float | None:
    return None if when is None else round(when - at, 1)


def misses(found: Mapping[str, Any]) -> list[str]:
    """What did not go as it should. Pure."""
    name = found["fault"]
    missed = []
    if found["recovered"] is None:
        missed.append(f"{name}: not serving again in the time there was")
    if found["hung"]:
        missed.append(f"{name}: {found['hung']} requests hung")
    if found["node"] not in " ".join([found["named"], *found["said"]]):
        missed.append(f"{name}: nobody named {found['node']}")
    return missed
