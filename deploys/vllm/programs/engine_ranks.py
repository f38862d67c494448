"""The ranks of one engine that spans several nodes: which of them ended or stands still, by rank and node.

Runs in the replica, inside the locked runtime. vLLM says that its engine is dead, and of several ranks not which was
the first; the end of a rank by pipeline it has been seen to log and to wait on, and one that is stopped it does not see
at all. What Ray knows of a rank's actor and what the rank's own node knows of its process tell. `first_to_blame` is
pure; what asks Ray blocks.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys.programs import private_names

LOOK_SECONDS = 5.0
# States of a process in which it does nothing for its engine: proc_pid_stat(5).
_STANDS_STILL = {"T": "is stopped", "t": "is stopped by a debugger", "Z": "has ended", "X": "has ended"}


@dataclass(frozen=True)
class Rank:
    """One rank: its place in the engine, Ray's id of its actor, the node's name and Ray's id of it, its process."""

    number: int
    actor: str
    node: str
    node_id: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.number} on {self.node}"


def ranks_of(client: Any) -> tuple[Rank, ...]:
    """The ranks of an engine that runs, by vLLM's client of it; none where Ray has no actors of it."""
    names = private_names.rank_actors(client)
    nodes = {row["NodeID"]: row.get("NodeName", "") for row in private_names.ray_nodes()}
    actors = {row["Name"]: row for row in private_names.ray_actors().values() if row["Name"] in names}
    return tuple(
        Rank(number, row["ActorID"], nodes.get(row["Address"]["NodeID"], ""), row["Address"]["NodeID"], row["Pid"])
        for number, name in enumerate(names)
        if (row := actors.get(name))
    )


def gone(ranks: Sequence[Rank]) -> str:
    """Which rank is not there any more, in words; empty while all are."""
    alive = {row["NodeID"] for row in private_names.ray_nodes() if row.get("Alive", row.get("alive"))}
    actors = private_names.ray_actors()
    return first_to_blame(ranks, {rank.actor: actors.get(rank.actor, {}) for rank in ranks}, alive)


def blamed(ranks: Sequence[Rank]) -> str:
    """Which rank is gone or stands still, in words; empty when all seem to work. LOOK_SECONDS at most."""
    return gone(ranks) or still(ranks, _states_on_their_nodes)


def first_to_blame(ranks: Sequence[Rank], actors: Mapping[str, Mapping[str, Any]], alive: set[str]) -> str:
    """The rank whose node is gone, else the one that ended first: vLLM then ends the others. Pure.

    `actors`: Ray's rows by actor id, {} for one that it no longer knows. `alive`: ids of Ray nodes that are there.
    """
    for rank in ranks:
        if rank.node_id not in alive:
            return f"{rank}: its Ray node is gone"
    ended = [rank for rank in ranks if actors[rank.actor].get("State") == "DEAD"]
    if not ended:
        return ""
    first = min(ended, key=lambda rank: int(actors[rank.actor].get("EndTime") or 0))
    return f"{first} has ended (process {first.pid})"


def still(ranks: Sequence[Rank], states: Callable[[Sequence[Rank]], Mapping[int, str]]) -> str:
    """The ranks whose processes do nothing, by the states that their nodes tell of them; else those of silent nodes.

    Ray takes a node that went without a word for alive for a quarter of a minute more.
    """
    found = states(ranks)
    at_fault = [
        f"{rank} {_STANDS_STILL[found[rank.number]]} (process {rank.pid})"
        for rank in ranks
        if found.get(rank.number) in _STANDS_STILL
    ]
    silent = [f"{rank}: its node does not answer" for rank in ranks if found and rank.number not in found]
    return "; ".join(at_fault or silent)


def process_state(pid: int) -> str:
    """The letter that Linux has for a process's state on this node; X where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _states_on_their_nodes(ranks: Sequence[Rank]) -> dict[int, str]:
    """What each rank's node says; a node that says nothing in time, or cannot be asked, is left out."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for rank in ranks:
        there = NodeAffinitySchedulingStrategy(node_id=rank.node_id, soft=False)
        asked[ray.remote(process_state).options(num_cpus=0, scheduling_strategy=there).remote(rank.pid)] = rank.number
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_SECONDS)
    for one in late:
        ray.cancel(one, force=True)
    states = {}
    for one in done:
        with contextlib.suppress(RayError):
            states[asked[one]] = ray.get(one)
    return states
