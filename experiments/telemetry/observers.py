"""Observers on every host of a cluster while an experiment runs, and what they said, line by line as it came.

Agentless: a program is sent to each host, looks every few seconds, and ends with its connection, however that ends.
What it says is written to diverse/telemetry/NODE.jsonl in the bundle as it comes, so that a run that dies has it too. A
host that goes away, as hosts do in an experiment, is asked again until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploys import hosts as kinds
from deploys.environment import api_key_path, token_path
from deploys.observability.declared import gpu_file
from experiments.errors import ExperimentError
from experiments.load.client import clock
from experiments.telemetry.hosts import OBSERVE, first_line, program
from operate.clusters import ClusterInventory, Host

PLACE = Path("diverse", "telemetry")
CLOCKS = "clocks.json"
# A look at an engine's metrics has its API write some hundred lines: about ten milliseconds of a processor.
PERIOD_SECONDS = 5.0
LIMIT_SECONDS = 24 * 3600.0
GPU_SECONDS = 10.0
START_SECONDS = 30.0
AGAIN_SECONDS = 3.0
END_SECONDS = 5.0
CLOCK_QUESTIONS = 8
LINE_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Clock:
    """How far a host's clock is ahead of ours, in seconds, and how wrong that may be: half of the quickest question."""

    node: str
    offset_seconds: float
    error_seconds: float


def order(cluster: ClusterInventory, host: Host, *, period_seconds: float, limit_seconds: float) -> dict[str, Any]:
    """What the observer of a host is to look at. Nodes that share a machine: the first tells of its kernel and GPUs."""
    here = host.settings
    kind = kinds.of(here)
    first = next(other.name for other in cluster.hosts if kinds.of(other.settings).machine == kind.machine)
    machine = first == host.name
    head = here.is_control
    return {
        "node": here.node,
        "cluster": here.cluster,
        "address": here.network.address,
        "period_seconds": period_seconds,
        "limit_seconds": limit_seconds,
        "engine_ports": list(range(here.ray.ports.engine_first, here.ray.ports.engine_last + 1))
        if here.runs_engine
        else [],
        "names": {address: node for node, address in here.network.peers.items()},
        "machine": machine,
        "ray": f"http://{here.head_address}:{here.ray.ports.dashboard}" if head else "",
        "token_file": token_path(here),
        "watch": f"http://{here.network.address}:{here.ray.ports.watch}" if head else "",
        "key_file": api_key_path(here) if here.api_key_required else "",
        "gpu_seconds": GPU_SECONDS if here.accelerators.names and machine else 0.0,
        "gpu_file": gpu_file(here),
    }


@dataclass
class Observer:
    """The observer of one host: its process now, and what became of it."""

    host: Host
    order: dict[str, Any]
    file: Path
    notes: list[str] = field(default_factory=list)
    clock: Clock | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        self.heard = asyncio.Event()
        self._answers: dict[str, asyncio.Future[float]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`; begins anew when the observer or its host went away."""
        while not self._stopped.is_set():
            self.starts += 1
            said = await self._once()
            if self._stopped.is_set():
                return
            if self.starts == 1 or said not in self.notes[-1:]:
                self.notes.append(said)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), AGAIN_SECONDS)

    async def _once(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *program(self.host, self.order),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LINE_BYTES,
                start_new_session=True,  # Ctrl-C is ours to hand on: what was seen last still comes
            )
        except OSError as error:
            return f"{self.host.name}: no observer: {error}"
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 (all are pipes)
        self._process = process
        complaint = asyncio.create_task(process.stderr.read(4_000))
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(first_line(OBSERVE))
                await process.stdin.drain()
                await self._read(process.stdout)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            complaint.cancel()
            words = b"" if not complaint.done() or complaint.cancelled() else complaint.result()
        last = " ".join(words.decode(errors="replace").split())[-300:]
        return f"{self.host.name}: the observer ended with {process.returncode}: {last or 'no words'}"

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Keep every line; a full disk costs what is seen, and is said."""
        lost = False
        with self.file.open("ab") as file:
            while line := await stream.readline():
                self.heard.set()
                if line.startswith(b'{"clock"'):
                    self._clock(line)
                    continue
                try:
                    file.write(line)
                    file.flush()
                except OSError as error:
                    if not lost:
                        self.notes.append(f"{self.file}: {error.strerror}; what {self.host.name} shows is not kept")
                    lost = True

    def _clock(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            waiting = self._answers.pop(said["clock"], None)
            if waiting and not waiting.done():
                waiting.set_result(float(said["at"]))

    async def ask_clock(self) -> None:
        """Compare its clock with ours; what is known better already stays."""
        for question in range(CLOCK_QUESTIONS):
            process = self._process
            if process is None or process.stdin is None or process.stdin.is_closing():
                return
            name = f"{self.starts}.{question}.{clock():.6f}"
            waiting = self._answers[name] = asyncio.get_running_loop().create_future()
            asked = clock()
            process.stdin.write(f"{name}\n".encode())
            try:
                theirs = await asyncio.wait_for(waiting, END_SECONDS)
            except TimeoutError:
                return
            answered = clock()
            error = (answered - asked) / 2
            if self.clock is None or error < self.clock.error_seconds:
                self.clock = Clock(self.host.name, theirs - (asked + answered) / 2, error)

    def stop(self) -> None:
        """The end of its input is its end."""
        self._stopped.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


@dataclass(frozen=True)
class Live:
    """Observers that run. `notes`: what of the cluster could not be seen; `clocks`: of hosts that were asked."""

    observers: tuple[Observer, ...]

    @property
    def clocks(self) -> list[Clock]:
        """Of every host that told."""
        return [observer.clock for observer in self.observers if observer.clock is not None]

    @property
    def notes(self) -> list[str]:
        """For the journal."""
        return [note for observer in self.observers for note in observer.notes]

    def entries(self) -> list[dict[str, Any]]:
        """For the journal: a clock a host, and notes."""
        at = clock()
        clocks = [{"at": at, "kind": "clock", **asdict(one)} for one in self.clocks]
        return [*clocks, *({"at": at, "kind": "note", "about": "telemetry", "text": note} for note in self.notes)]


@contextlib.asynccontextmanager
async def live(
    cluster: ClusterInventory,
    bundle: Path,
    *,
    period_seconds: float = PERIOD_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
) -> AsyncIterator[Live]:
    """Observe every host while the block runs. It begins when each was heard, or START_SECONDS have passed.

    ExperimentError where the bundle cannot be written; a host that cannot be seen is a note, and no failure.
    """
    place = bundle / PLACE
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"{place}: {error.strerror}; give a directory that can be written with --to") from None
    limits = {"period_seconds": period_seconds, "limit_seconds": limit_seconds}
    observers = tuple(
        Observer(host, order(cluster, host, **limits), place / f"{host.name}.jsonl") for host in cluster.hosts
    )
    tasks = [asyncio.create_task(observer.run()) for observer in observers]
    found = Live(observers)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(one.heard.wait() for one in observers)), START_SECONDS)
        await asyncio.gather(*(observer.ask_clock() for observer in observers))
        yield found
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(observer.ask_clock() for observer in observers))
        for observer in observers:
            observer.stop()
        await asyncio.wait(tasks, timeout=2 * END_SECONDS)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            (place / CLOCKS).write_text(json.dumps([asdict(one) for one in found.clocks]) + "\n")
