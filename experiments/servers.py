"""Programs that a benchmark starts and ends: the stub engine, a gateway with a given configuration, a bare engine.

All listen on loopback. Seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys.programs.private_names import ENGINE_PROCESS
from experiments.errors import ExperimentError
from facts.programs import direct
from facts.sources import REPOSITORY

STOP_SECONDS = 20.0
ENGINE_SECONDS = 300.0
# (listen address, port, [(name, address, port) of each engine]) -> text of HAProxy's configuration
Configuration = Callable[[str, int, Sequence[tuple[str, str, int]]], str]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A program that runs: its base address without a path, and its process."""

    url: str
    pid: int

    def processor_seconds(self) -> float:
        """Processor time of the process and its living children so far."""
        return sum(_processor_seconds(pid) for pid in with_children(self.pid))


def plain_configuration(address: str, port: int, engines: Sequence[tuple[str, str, int]]) -> str:
    """The least that HAProxy needs to pass requests on: what a gateway costs that does nothing more."""
    servers = "\n".join(f"    server {name} {host}:{number}" for name, host, number in engines)
    return f"""global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option http-no-delay
frontend benchmark
    bind {address}:{port}
    default_backend engines
backend engines
    balance leastconn
{servers}
"""


@contextlib.contextmanager
def stub(address: str, port: int, ttft_ms: float, itl_ms: float, *, flags: Sequence[str] = ()) -> Iterator[Server]:
    """A stub engine in a process of its own; `flags` are further words of its command line."""
    command = [sys.executable, "-m", "experiments.stub_engine", address, str(port)]
    command += ["--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms), *flags]
    with _started(command, address, port, 15.0) as server:
        yield server


@contextlib.contextmanager
def gateway(binary: Path, text: str, address: str, port: int) -> Iterator[Server]:
    """HAProxy in the foreground with that configuration, once it listens."""
    if not binary.exists():
        raise ExperimentError(f"{binary} is missing; build the runtime with `./cluster up`, or give --haproxy")
    with tempfile.TemporaryDirectory(prefix="gateway-") as place:
        path = Path(place) / "haproxy.cfg"
        path.write_text(text)
        with _started([str(binary), "-db", "-f", str(path)], address, port, 15.0, place=place) as server:
            yield server


@contextlib.contextmanager
def bare_engine(
    runtime: Path,
    model: Mapping[str, str],
    flags: Sequence[str],
    environment: Mapping[str, str],
    place: tuple[str, int],
) -> Iterator[Server]:
    """vLLM's own OpenAI server from the locked runtime; `model` is its `name` and `directory`."""
    address, port = place
    command = [str(runtime / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", model["directory"], "--served-model-name", model["name"], "--host", address]
    command += ["--port", str(port), *flags]
    with _started(command, address, port, ENGINE_SECONDS, environment=environment, place="/") as server:
        deadline = time.monotonic() + ENGINE_SECONDS
        while not _healthy(server.url):
            if time.monotonic() > deadline:
                raise ExperimentError(f"{server.url}/health: not 200 after {ENGINE_SECONDS:g} s")
            time.sleep(0.1)
        yield server


def engine_processes() -> dict[int, dict[str, Any]]:
    """pid -> threads and processors of every engine core process on this machine, to see whether two are alike."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().startswith(ENGINE_PROCESS.encode()):
                pid = int(entry.name)
                threads = sum(1 for _ in (entry / "task").iterdir())
                found[pid] = {"threads": threads, "processors": sorted(os.sched_getaffinity(pid))}
    return found


def engine_flags(engine: Mapping[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line takes them. Pure."""
    flags: list[str] = []
    for name, value in engine.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif value is False:
            flags.append(f"--no-{flag.removeprefix('--')}")
        elif value is not None:
            flags += [flag, json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return flags


def get_json(url: str, seconds: float = 5.0) -> Any:
    """The object at `url`; ExperimentError when there is none."""
    try:
        with direct.opened(url, seconds) as stream:
            return json.load(stream)
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{url}: {error}") from None


@contextlib.contextmanager
def _started(
    command: Sequence[str],
    address: str,
    port: int,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    place: str = "",
) -> Iterator[Server]:
    if _listens(address, port):
        raise ExperimentError(f"{address}:{port} is taken; end what listens there, or give other ports")
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=place or REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + seconds
            while not _listens(address, port):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    words = " ".join(said.read().split())[-400:]
                    raise ExperimentError(f"{' '.join(command[:4])}: does not listen on {address}:{port}: {words}")
                time.sleep(0.05)
            yield Server(f"http://{address}:{port}", process.pid)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and all of its session: an engine has children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _healthy(url: str) -> bool:
    try:
        return direct.status(f"{url}/health", 5) == 200
    except OSError:
        return False


def free_port(address: str) -> int:
    """A port that the system has free there now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def with_children(pid: int) -> list[int]:
    """The process and all of its living descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for tasks in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (tasks / "children").read_text().split()]
    return found


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
