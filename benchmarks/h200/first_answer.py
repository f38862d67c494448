"""From the start of a server to its first right answer: bare vLLM, the declared cluster through its gateway. Seconds.

Both are asked the golden question at temperature 0 until the answer is right, ten times a second.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.h200 import one_machine
from deploys import runtime_lock
from deploys.settings import Settings
from experiments import servers
from experiments.errors import ExperimentError
from experiments.servers import Server
from facts.programs import direct, golden

PERIOD_SECONDS = 0.1
# What a process of a start is called, by the beginning of its command line or by words in it.
_MARKS = {
    "Ray's control store": ("gcs_server",),
    "Ray's nodes": ("raylet/raylet",),
    "replica": ("ray::ServeReplica",),
    "engine process": ("engine_process ready",),
    "engine core": ("VLLM::EngineCore",),
    "rank": ("ray::RayWorkerProc", "VLLM::Worker"),
}


def right(url: str, model: str, wanted: Mapping[str, Any], seconds: float = 5.0) -> bool:
    """Whether the server at this base address gives the golden answer now."""
    path, body = golden.request(wanted, model)
    call = urllib.request.Request(  # noqa: S310 (http on loopback)
        f"{url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with direct.opened(call, seconds) as stream:
            answer = golden.answer_of(json.load(stream), wanted)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return golden.is_right(str(wanted["expected"]), answer)


def wait_until_right(url: str, model: str, wanted: Mapping[str, Any], begun: float, seconds: float) -> float:
    """Seconds from `begun` (monotonic) to the first right answer; ExperimentError when there is none in time."""
    while time.monotonic() - begun < seconds:
        if right(url, model, wanted):
            return round(time.monotonic() - begun, 2)
        time.sleep(PERIOD_SECONDS)
    raise ExperimentError(f"{url}: no right answer within {seconds:g} s")


@contextlib.contextmanager
def bare(
    node: Settings, flags: Sequence[str], variables: Mapping[str, str], place: tuple[str, int], seconds: float = 300.0
) -> Iterator[tuple[Server, float]]:
    """Bare vLLM with these flags, and how long it took to its first right answer; to health without a golden one."""
    begun = time.monotonic()
    model = {"name": node.model.name, "directory": node.model.directory}
    with servers.bare_engine(Path(runtime_lock.directory(node)), model, flags, variables, place) as server:
        try:
            wanted = golden.declared(node.model.golden, node.model.directory)
        except (OSError, ValueError):
            wanted = {}
        took = round(time.monotonic() - begun, 2)
        yield server, wait_until_right(server.url, node.model.name, wanted, begun, seconds) if wanted else took


@contextlib.contextmanager
def cluster(nodes: tuple[Settings, ...], seconds: float = 300.0) -> Iterator[tuple[str, dict[str, float]]]:
    """The cluster of these nodes from the start of its services: the engine's base address, and what was seen when.

    The last of it is `right answer`, through the gateway. At the end it is killed: nothing is waited for.
    """
    head, seen, begun, done = nodes[0], dict[str, float](), time.monotonic(), threading.Event()
    with one_machine.started(nodes):
        seen["services started"] = round(time.monotonic() - begun, 2)
        watcher = threading.Thread(target=_watch, args=(nodes, seen, begun, done), daemon=True)
        watcher.start()
        try:
            engine = one_machine.ready(nodes, seconds)
            seen["engine proven"] = round(time.monotonic() - begun, 2)
            wanted = golden.declared(head.model.golden, head.model.directory)
            url = head.endpoint.removesuffix("/v1")
            seen["right answer"] = wait_until_right(url, head.model.name, wanted, begun, seconds)
        finally:
            done.set()
            watcher.join()
        yield engine, dict(seen)


def _watch(nodes: tuple[Settings, ...], seen: dict[str, float], begun: float, done: threading.Event) -> None:
    """When the first process of each kind was seen; all of them for kinds of which each node has one.

    An engine's process is a fork of one that has vLLM loaded, and is called as that is.
    """
    expected = {"Ray's nodes": len(nodes), "engine process": 2}
    while not done.wait(PERIOD_SECONDS):
        counts: dict[str, int] = {}
        for pid in one_machine.processes(nodes):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                for kind, marks in _MARKS.items():
                    counts[kind] = counts.get(kind, 0) + any(mark in line for mark in marks)
        for kind, number in counts.items():
            if number >= expected.get(kind, 1) and kind not in seen:
                seen[kind] = round(time.monotonic() - begun, 2)
