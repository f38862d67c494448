"""The laptop cluster as a benchmark sees it: its endpoint, the right answer, its nodes' memory. Reads only."""

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

from benchmarks.common import BenchmarkError
from deploys import runtime_lock
from deploys.settings import Settings, parse
from facts.parse.processes import ProcessReport
from facts.programs.golden import is_right
from facts.vllm import Processes
from inventories import laptop as inventory

ANSWER_SECONDS = 60
ENGINE_FIRST, ENGINE_BLOCK = 8100, 8


@dataclass(frozen=True)
class NodeMemory:
    """Proportional set size of one node's processes: those that carry its name, and their descendants."""

    node: str
    role: str
    processes: int
    engines: int
    total_bytes: int


def nodes() -> list[Settings]:
    """Settings of the laptop's nodes, the head first."""
    return [parse(name, data["settings"]) for name, data in (*inventory.control, *inventory.compute)]


def runtime_is_there() -> bool:
    """Whether the locked runtime is built, so that a start does not build it."""
    return (Path(runtime_lock.directory(nodes()[0])) / "complete.json").exists()


def ask(head: Settings) -> bool:
    """Ask the golden question over the API; whether the answer is right. False too while nobody answers."""
    golden = head.model.golden
    body = {
        "model": head.model.name,
        "messages": [{"role": "user", "content": golden["question"]}],
        "max_tokens": golden["max_tokens"],
        "temperature": 0,
    }
    call = urllib.request.Request(  # noqa: S310 (http on loopback by design)
        f"{head.endpoint}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(call, timeout=ANSWER_SECONDS) as stream:  # noqa: S310
            answer: Any = json.load(stream)
        text = str(answer["choices"][0]["message"]["content"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError):
        return False
    return is_right(str(golden["expected"]), text)


def answers_at_all(head: Settings) -> bool:
    """Whether anything speaks HTTP at the endpoint."""
    try:
        urllib.request.urlopen(f"{head.endpoint}/models", timeout=5).close()  # noqa: S310 (http on loopback)
    except urllib.error.HTTPError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return True


def memory() -> list[NodeMemory]:
    """Memory of every node, by the fact that `cluster verify` and the operator use."""
    return [memory_of(node) for node in nodes()]


def memory_of(node: Settings) -> NodeMemory:
    """Memory of one node; BenchmarkError when it has no process."""
    found = processes_of(node)
    if not found.names:
        raise BenchmarkError(f"{node.node}: no processes of its own found; is the cluster up?")
    return NodeMemory(node.node, node.role, len(found.names), len(found.engines), found.total_bytes)


def processes_of(node: Settings) -> ProcessReport:
    """Processes of one node, none when it is down; BenchmarkError when that could not be told."""
    fact = Processes()
    command = fact.command(node=node.node, cluster=node.cluster)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    try:
        return fact.process(done.stdout.splitlines())
    except FactProcessError as error:
        raise BenchmarkError(
            f"{node.node}: its processes cannot be read: {error} {done.stderr.strip()[-200:]}"
        ) from None


def engine_ports(node: Settings) -> range:
    """Ports on which the node's replica may listen: nodes that share a machine have a block each."""
    ports, index = node.ray.ports, list(node.network.peers).index(node.node)
    first = int(getattr(ports, "engine_first", ENGINE_FIRST + ENGINE_BLOCK * index))
    return range(first, int(getattr(ports, "engine_last", first + ENGINE_BLOCK - 1)) + 1)
