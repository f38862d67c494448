"""What an engine wrote down of its own life on its node: begun, loaded, proven, serving, out, ended. Unix seconds.

Each node's record is a file of JSON lines (deploys/vllm/programs/engine_life.py). The times are the host's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from deploys import shell
from deploys.environment import proof_record_path
from deploys.faults.commands import Command
from experiments.schedule.chaos import Hosts

BEGUN, LOADED, SERVING, OUT, ENDED = "begun", "loaded", "serving", "out", "ended"
_EVENTS = {"begin": BEGUN, "loaded": LOADED, "end": ENDED}
_LINES = 2000


@dataclass(frozen=True)
class Mark:
    """A moment in the life of a replica on a node."""

    at: float
    node: str
    name: str
    replica: str = ""


def parse(node: str, lines: Iterable[str]) -> list[Mark]:
    """Marks of a record, in its order; lines of another shape, as a full disk leaves them, are passed over. Pure."""
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            at, event = float(entry["at"]), entry["event"]
        except (ValueError, KeyError, TypeError):
            continue
        name = _EVENTS.get(event)
        if event == "state":
            name = SERVING if entry.get("state") == "serving" else OUT
        if name:
            found.append(Mark(at, node, name, str(entry.get("replica", ""))))
    return found


async def collect(cluster: Hosts, nodes: Sequence[str], offsets: Mapping[str, float] | None = None) -> list[Mark]:
    """Marks of these nodes. `offsets`: seconds by which a host is ahead of our clock; ExperimentError as from host."""
    found: list[Mark] = []
    for node in nodes:
        line = shell.line("tail", "-q", "-n", str(_LINES), values=(proof_record_path(cluster.hosts[node]),))
        said = await cluster.host(node, Command(f"{line} 2>/dev/null || true"))
        ahead = (offsets or {}).get(node, 0.0)
        found += [replace(mark, at=mark.at - ahead) for mark in parse(node, said.splitlines())]
    return sorted(found, key=lambda mark: mark.at)
