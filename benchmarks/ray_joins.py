"""Ray nodes that start together on one machine: how long until all have joined, and whether any loses its start.

`python -m benchmarks.ray_joins`. Each start is the declared commands of a laptop's nodes, without engines: the head,
and when it answers all workers at once. "own" gives each node a directory of its own, as declared. "shared" gives all
the head's, as it was before: Ray's nodes choose their sockets' names by what is in that directory, and two that look at
the same time choose the same. A worker that ended before Ray had all of them has lost its start. Exit 0: none of "own"
has. 1: see "Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks import common
from benchmarks.smoke import add_argument, report_kept
from deploys import runtime_lock
from deploys.environment import token_path
from deploys.ray_head.declared import head_service
from deploys.ray_worker.declared import worker_service
from deploys.services.description import Service
from deploys.settings import Settings, parse
from experiments.errors import ExperimentError
from experiments.report import results
from experiments.report.markdown import about, listed_misses, shown, table
from experiments.report.progress import show
from facts.programs import ray_rest
from facts.sources import REPOSITORY
from hardware.laptop import laptop
from inventories.composition.compose import Serving, Site, compose

NAME = "ray_joins"
MODEL = "smollm2-135m-instruct"
START_SECONDS = 240
STOP_SECONDS = 30


def main(arguments: list[str] | None = None) -> int:
    """Start `--rounds` times with each number of workers; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--ways", nargs="+", choices=["own", "shared"], default=["own", "shared"])
    add_argument(parser)
    options = parser.parse_args(arguments)
    try:
        return report_kept(NAME, report) if options.smoke else measure(options)
    except ExperimentError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2


def measure(options: argparse.Namespace) -> int:
    """The ways take turns, so that both meet the same machine."""
    lock = runtime_lock.load(settings_of(1)[0].runtime)
    result = results.begun(
        NAME,
        versions={"runtime": lock.name, "ray": lock.versions["ray"]},
        options={"rounds": options.rounds, "workers": options.workers},
        starts=[],
    )
    path = common.result_path(NAME)
    for count in options.workers:
        for number in range(1, options.rounds + 1):
            for way in options.ways:
                start = {"workers": count, "way": way, **one_start(count, shared=way == "shared")}
                result["starts"].append(start)
                if way == "own" and start["ended"]:
                    result["misses"].append(f"{count} workers, start {number}: {'; '.join(start['ended'].values())}")
                show("start", f"{count} workers, {way}, {number}: {start['seconds']} s, {len(start['ended'])} lost")
                results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def one_start(count: int, *, shared: bool) -> dict[str, Any]:
    """Seconds from the workers' start until Ray has all of them (None: not all came), and who ended, with its words."""
    with tempfile.TemporaryDirectory(prefix="joins-") as home, _home(home):
        head, *workers = settings_of(count)
        _write_tokens([head, *workers])
        logs = {node.node: Path(home, f"{node.node}.log") for node in (head, *workers)}
        with contextlib.ExitStack() as stack:
            stack.enter_context(_started(head_service(head), logs[head.node]))
            begun = time.monotonic()
            _wait(head, {head.node}, {})
            first = time.monotonic()
            if shared:
                workers = [_with_directory(node, head.directories.ray) for node in workers]
            processes = {
                node.node: stack.enter_context(_started(worker_service(node), logs[node.node])) for node in workers
            }
            missing = _wait(head, {head.node, *processes}, processes)
            seconds = round(time.monotonic() - first, 2)
            ended = {name: _words(logs[name]) for name, process in processes.items() if process.poll() is not None}
        for node in (head, *workers):
            shutil.rmtree(node.directories.ray, ignore_errors=True)
        return {
            "head_seconds": round(first - begun, 2),
            "seconds": None if missing else seconds,
            "ended": ended,
        }


def settings_of(count: int) -> list[Settings]:
    """A laptop's nodes, the head first; their state is below CLUSTER_HOME."""
    groups = compose(
        laptop(count),
        addresses={"head": "127.0.0.130", **{f"worker{n}": f"127.0.0.{130 + n}" for n in range(1, count + 1)}},
        serving=Serving(model=MODEL, dtype="float32", check_fit=False),
        site=Site(login_user="operator", service_user="operator", service_manager="supervisor", shared_files=True),
        name="joins",
    )
    return [parse(name, data["settings"]) for group in groups for name, data in group]


def _with_directory(node: Settings, ray: str) -> Settings:
    """The node with another directory for Ray."""
    return replace(node, directories=replace(node.directories, ray=ray))


@contextlib.contextmanager
def _home(home: str) -> Iterator[None]:
    before = os.environ.get("CLUSTER_HOME")
    os.environ["CLUSTER_HOME"] = home
    try:
        yield
    finally:
        os.environ.pop("CLUSTER_HOME")
        if before is not None:
            os.environ["CLUSTER_HOME"] = before


def _write_tokens(nodes: Sequence[Settings]) -> None:
    token = secrets.token_hex(32)
    for node in nodes:
        if not Path(runtime_lock.directory(node), "complete.json").is_file():
            raise ExperimentError("the locked runtime is not built yet; run `./cluster up` once, then measure")
        path = Path(token_path(node))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token)
        path.chmod(0o600)


@contextlib.contextmanager
def _started(service: Service, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The declared command, with this project's programs as they are here."""
    environment = {**service.environment, "PYTHONPATH": str(REPOSITORY)}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with log.open("wb") as stream:
        process = subprocess.Popen(service.command, env={**inherited, **environment}, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(head: Settings, wanted: set[str], processes: Mapping[str, subprocess.Popen[bytes]]) -> set[str]:
    """Who has not joined when all have, when one of `processes` has ended, or when the time is up."""
    url = f"http://{head.head_address}:{head.ray.ports.dashboard}{ray_rest.NODES}"
    deadline = time.monotonic() + START_SECONDS
    missing = wanted
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            rows = ray_rest.nodes(ray_rest.request(url, token_file=token_path(head)))
            missing = wanted - {row["node_name"] for row in rows if row["state"] == "ALIVE"}
        if not missing or any(process.poll() is not None for process in processes.values()):
            return missing
        time.sleep(0.2)
    return missing


def _words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it wrote nothing"


def report(result: dict[str, Any]) -> str:
    """Markdown of a result."""
    rows = []
    for count, way in sorted({(start["workers"], start["way"]) for start in result["starts"]}):
        starts = [one for one in result["starts"] if (one["workers"], one["way"]) == (count, way)]
        whole = [one["seconds"] for one in starts if one["seconds"] is not None]
        lost = sum(bool(one["ended"]) for one in starts)
        figures = [statistics.median(whole), max(whole)] if whole else [None, None]
        rows.append([f"{count} workers, {way}", str(len(starts)), str(lost), *(shown(one) for one in figures)])
    return "\n".join(
        [
            "# Ray nodes that start together on one machine\n",
            about(result["machine"], result["versions"], result["started"]),
            f"Seconds from the start of the workers until Ray has all; a lost start is not in them. Load before: "
            f"{result['load_before']}.\n",
            table(["directory of Ray", "starts", "lost", "median s", "slowest s"], rows),
            "",
            listed_misses(result["misses"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
