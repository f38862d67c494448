"""A cluster whose nodes run on this machine: its endpoint, the right answer, its nodes' memory. Reads only."""

from __future__ import annotations

import http.client
import json
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import FactProcessError

from deploys import runtime_lock
from deploys.settings import Settings
from experiments.answers import Question
from experiments.errors import ExperimentError
from facts.parse.processes import ProcessReport
from facts.programs import direct
from facts.programs.golden import is_right
from facts.vllm import Processes
from operate import clusters
from operate.errors import OperatorError

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class NodeMemory:
    """Proportional set size of one node's processes: those that carry its name, and their descendants."""

    node: str
    role: str
    processes: int
    engines: int
    total_bytes: int


def nodes(name: str = "laptop") -> list[Settings]:
    """Settings of a cluster's nodes, the head first; ExperimentError when it has no inventory that can be read."""
    try:
        return [host.settings for host in clusters.read(name).hosts]
    except OperatorError as error:
        raise ExperimentError(str(error)) from None


def runtime_is_there(head: Settings) -> bool:
    """Whether the locked runtime is built, so that a start does not build it."""
    return (Path(runtime_lock.directory(head)) / "complete.json").exists()


def ask(head: Settings, endpoint: str = "") -> bool:
    """Ask the golden question over the API, or at another endpoint; whether the answer is right.

    False too while nobody answers.
    """
    golden = head.model.golden
    body = {
        "model": head.model.name,
        "messages": [{"role": "user", "content": golden["question"]}],
        "max_tokens": golden["max_tokens"],
        "temperature": 0,
    }
    call = urllib.request.Request(  # noqa: S310 (http on loopback by design)
        f"{endpoint or head.endpoint}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with direct.opened(call, ANSWER_SECONDS) as stream:
            answer: Any = json.load(stream)
        text = str(answer["choices"][0]["message"]["content"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError):
        return False
    return is_right(str(golden["expected"]), text)


def answers_at_all(head: Settings) -> bool:
    """Whether anything speaks HTTP at the endpoint."""
    try:
        direct.status(f"{head.endpoint}/models", 5)
    except (OSError, http.client.HTTPException):
        return False
    return True


def memory_of(node: Settings) -> NodeMemory:
    """Memory of one node, by the fact that `cluster verify` reads too; ExperimentError when it has no process."""
    found = processes_of(node)
    if not found.names:
        raise ExperimentError(f"{node.node}: no processes of its own found; is the cluster up?")
    return NodeMemory(node.node, node.role, len(found.names), len(found.engines), found.total_bytes)


def processes_of(node: Settings) -> ProcessReport:
    """Processes of one node, none when it is down; ExperimentError when that could not be told."""
    fact = Processes()
    command = fact.command(node=node.node, cluster=node.cluster)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    try:
        return fact.process(done.stdout.splitlines())
    except FactProcessError as error:
        raise ExperimentError(
            f"{node.node}: its processes cannot be read: {error} {done.stderr.strip()[-200:]}"
        ) from None


def engine_ports(node: Settings) -> range:
    """Ports on which the node's replica may listen."""
    return range(node.ray.ports.engine_first, node.ray.ports.engine_last + 1)


def engine_places(node: Settings) -> list[str]:
    """Base addresses at which the node's replica may answer."""
    return [f"http://{node.network.address}:{port}" for port in engine_ports(node)]


def golden(head: Settings) -> Question:
    """The question that proves the default model."""
    found = head.model.golden
    return Question(str(found["question"]), int(found["max_tokens"]), str(found["expected"]))
