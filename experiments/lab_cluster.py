"""A cluster as a fault experiment sees it: endpoint and key, commands on its hosts, looks at its replicas.

The lab's, or the laptop's, whose hosts are this machine. A cluster elsewhere is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lab
from deploys.environment import api_key_path
from deploys.faults.commands import Command
from deploys.settings import Settings
from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load.client import Endpoint, clock
from experiments.local_cluster import golden
from experiments.telemetry.fault_times import Look
from facts import sources
from lab.boot import ssh_command
from lab.plan import LAB_NETWORK
from operate import clusters
from operate.api import api_key
from operate.errors import OperatorError

LOOK_PROGRAM = "experiments.telemetry.programs.look_at_replicas"
LOOK_PERIOD_SECONDS = 0.5
LOOPBACK = "127.0.0.0/8"


@dataclass
class LabCluster:
    """A deployed cluster. `declared` are the nodes with an engine, name -> address; `looks` grows while it is watched.

    `hosts`: settings of every node by its name. `words`: what runs a line of shell on a host, by its name.
    """

    hosts: dict[str, Settings]
    declared: dict[str, str]
    key: str
    words: Callable[[str, str], list[str]]
    looks: list[Look] = field(default_factory=list)

    @property
    def control(self) -> Settings:
        """Settings of the control node."""
        return next(entry for entry in self.hosts.values() if entry.is_control)

    @property
    def endpoint(self) -> Endpoint:
        """Where the questions go."""
        return Endpoint(self.control.endpoint, self.control.model.name, self.key)

    @property
    def golden(self) -> Question:
        """The question that proves the model."""
        return golden(self.control)

    async def host(self, name: str, command: Command, *, seconds: float = 60) -> str:
        """Run a command on a host, as its administrator, and return what it printed; ExperimentError when it fails."""
        words = self.words(name, command.line)
        return await run(words, stdin=command.stdin, seconds=seconds, what=f"{name}: {command.line[:80]}")

    async def cluster(self, *arguments: str, seconds: float = 600) -> str:
        """Run `cluster -c NAME ...` as an operator does; ExperimentError when its exit status is not 0."""
        program = str(Path(sys.executable).parent / "cluster")
        return await run(
            [program, "-c", self.control.cluster, *arguments], seconds=seconds, what=f"cluster {' '.join(arguments)}"
        )

    @contextlib.asynccontextmanager
    async def watched(self, limit_seconds: float) -> AsyncIterator[None]:
        """Look at every declared replica twice a second while the block runs, from the control host."""
        ports = [entry.ray.ports for entry in self.hosts.values()]
        first, last = min(one.engine_first for one in ports), max(one.engine_last for one in ports)
        # In the shell's place: a shell that is ended alone would leave it looking, with our pipe in its hand.
        line = "exec " + shlex.join(
            [
                *("python3", "-u", "-", api_key_path(self.control), str(first), str(last)),
                *(str(LOOK_PERIOD_SECONDS), str(limit_seconds)),
                *(f"{name}={address}" for name, address in self.declared.items()),
            ]
        )
        words = self.words(self.control.node, line)
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        reader = asyncio.create_task(self._read(process))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout  # noqa: S101 (both are pipes)
        process.stdin.write(sources.text(LOOK_PROGRAM).encode())
        await process.stdin.drain()
        process.stdin.close()
        async for line in process.stdout:
            with contextlib.suppress(ValueError, TypeError):
                self.looks.append(Look(**json.loads(line)))


def read_cluster(name: str = "lab", *, deployed: bool = True) -> LabCluster:
    """A cluster, "lab" or "laptop", from its inventory; without `deployed` its hosts only, which have no key yet.

    ExperimentError when there is none, or when an address is neither the lab's nor this machine's own.
    """
    try:
        cluster = clusters.read(name)
        key = (api_key(cluster) or "") if deployed else ""
    except OperatorError as error:
        raise ExperimentError(str(error)) from None
    hosts = {host.settings.node: host.settings for host in cluster.hosts}
    of, words = (LAB_NETWORK, on_host) if name == "lab" else (LOOPBACK, here)
    network = ipaddress.ip_network(of)
    outside = [node for node, entry in hosts.items() if ipaddress.ip_address(entry.network.address) not in network]
    if outside:
        raise ExperimentError(f"{', '.join(outside)}: not in {of}; faults are for the lab and this machine only")
    declared = {node: entry.network.address for node, entry in hosts.items() if entry.runs_engine}
    return LabCluster(hosts, declared, key, words)


def here(_name: str, line: str) -> list[str]:
    """The words that run a line of shell on this machine, which all nodes share."""
    return ["sh", "-c", line]


def on_host(name: str, line: str) -> list[str]:
    """The words that run a line of shell as root on a host of the lab; ExperimentError when none is up."""
    state = lab.state()
    if state is None:
        raise ExperimentError("no lab is up; run `cluster lab up` and `cluster -c lab up`")
    return ssh_command(state.host(name), lab.LabPaths(), f"sudo sh -c {shlex.quote(line)}")


async def run(command: list[str], *, what: str, stdin: str = "", seconds: float = 60) -> str:
    """Run a program in the project's directory; its standard output. ExperimentError for a failure or no end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=sources.REPOSITORY,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, complaint = await asyncio.wait_for(process.communicate(stdin.encode()), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ExperimentError(f"{what}: no end after {seconds:g} s") from None
    if process.returncode:
        said = " ".join((complaint or output).decode(errors="replace").split())[-300:]
        raise ExperimentError(f"{what}: exit {process.returncode}: {said}")
    return output.decode(errors="replace")


async def break_host(kind: str, node: str) -> float:
    """One of the lab's own faults; the time just before it."""
    at = clock()
    try:
        await asyncio.to_thread(lab.fault, kind, node)
    except lab.LabError as error:
        raise ExperimentError(str(error)) from None
    return at


async def mend_hosts() -> list[str]:
    """Thaw, join and boot whatever is not running; what was done, for a person."""
    done = []
    for node, state in lab.host_states().items():
        if state == "running":
            continue
        for kind in ("thaw", "join") if state == "frozen" else ("join",):
            await break_host(kind, node)
        done.append(f"{node} was {state}")
    return done


def status_of(text: str) -> Any:
    """The object that a command printed with --json; None when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None
