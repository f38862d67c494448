"""What a laptop cluster costs while nobody asks: processor seconds a minute by process, growth of logs, and its end.

`python -m benchmarks.idle`: a laptop cluster that serves is left alone for `--seconds`, then taken down. Processes are
those that carry a node's name, and their descendants. Exit 0: at most 5 processor seconds a minute, down within 10 s,
and nothing left of it in /dev/shm and below its directory. 1: one of these does not hold. 2: could not measure.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import run
from deploys.settings import Settings
from experiments import local_cluster
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from experiments.report.progress import show
from facts.sources import REPOSITORY

NAME = "idle"
AIM_PROCESSOR_SECONDS = 5.0
AIM_DOWN_SECONDS = 10.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (looked at)
# What `down` keeps: the operator's own.
KEPT = (".jsonl", ".node-manager-port")
_TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> int:
    """Look, wait, look again; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--settle-seconds", type=float, default=30.0, help="left alone before that")
    parser.add_argument("--down", default="./cluster down", help="command line that takes the cluster down")
    parser.add_argument(
        "--beside", default="nothing", help="what else the machine does meanwhile; kept with the result"
    )
    return run(NAME, parser, arguments, measure, smoke)


def measure(options: argparse.Namespace) -> int:
    """Idle, then down."""
    nodes = local_cluster.nodes()
    if not local_cluster.ask(nodes[0]):
        raise ExperimentError("the laptop cluster does not answer rightly; run `./cluster up`, then measure")
    shared = {entry.name for entry in SHARED_MEMORY.iterdir()}
    time.sleep(options.settle_seconds)
    costs, seconds, grown = idle(nodes, options.seconds)
    result = results.begun(
        NAME,
        versions={"model": nodes[0].model.name},
        options={"seconds": options.seconds},
        beside=options.beside,
        nodes=len(nodes),
        processor_seconds_a_minute={
            name: round(cost * 60 / seconds, 2) for name, cost in sorted(costs.items(), key=lambda item: -item[1])
        },
        log_bytes_an_hour=round(grown * 3600 / seconds),
    )
    began = time.monotonic()
    done = subprocess.run(shlex.split(options.down), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    result["down_seconds"] = round(time.monotonic() - began, 2)
    if done.returncode:
        raise ExperimentError(f"{options.down}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    result["left"] = left(nodes, shared)
    result["misses"] = judged(result)
    path = common.result_path(NAME)
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def idle(nodes: list[Settings], seconds: float) -> tuple[dict[str, float], float, int]:
    """Processor seconds by kind of process, over how many seconds, and the bytes by which the logs grew."""
    before, bytes_before, began = processor_seconds(nodes), log_bytes(nodes), time.monotonic()
    time.sleep(seconds)
    after = processor_seconds(nodes)
    costs: dict[str, float] = {}
    for pid, (name, spent) in after.items():
        costs[name] = costs.get(name, 0.0) + spent - before.get(pid, (name, 0.0))[1]
    return costs, time.monotonic() - began, log_bytes(nodes) - bytes_before


def processor_seconds(nodes: list[Settings]) -> dict[int, tuple[str, float]]:
    """pid -> kind and processor seconds so far, of the processes of these nodes."""
    marks = {f"CLUSTER_NODE_NAME={node.node}".encode() for node in nodes}
    places = tuple(node.directories.state.encode() for node in nodes)
    found: dict[int, tuple[str, float]] = {}
    parents: dict[int, int] = {}
    rows: dict[int, tuple[str, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            mine = bool(marks & set((entry / "environ").read_bytes().split(b"\0")))
        except OSError:
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        rows[pid] = (kind(words.replace(b"\0", b" ").decode(errors="replace")), sum(map(int, fields[11:13])) / _TICKS)
        if mine or any(place in words for place in places):
            found[pid] = rows[pid]
    grew = True
    while grew:
        more = {pid: rows[pid] for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        grew = bool(more)
    return found


def kind(words: str) -> str:
    """A short name of a process from its command line. Pure."""
    known = ("gcs_server", "raylet/raylet", "dashboard/agent.py", "runtime_env/agent", "dashboard/dashboard.py")
    for name in known:
        if name in words:
            return name
    if found := re.search(r"-m (\S+)", words):
        return found[1].rpartition(".")[2]
    if words.startswith(("ray::", "VLLM::")):
        return ":".join(words.split()[0].split(":")[:3])
    return Path(words.split(" ")[0]).name or "?"


def log_bytes(nodes: list[Settings]) -> int:
    """Bytes of all files below the nodes' own directories."""
    places = {place for node in nodes for place in (node.directories.ray, node.directories.state)}
    return sum(
        file.stat(follow_symlinks=False).st_size
        for place in places
        for file in Path(place).rglob("*")
        if file.is_file() and not file.is_symlink()
    )


def left(nodes: list[Settings], shared: set[str]) -> list[str]:
    """What is there after the end that was made by the cluster: shared memory, files, sockets."""
    found = [f"/dev/shm/{entry.name}" for entry in SHARED_MEMORY.iterdir() if entry.name in shared]  # noqa: S108
    for node in nodes:
        place = Path(node.directories.ray)
        found += [str(path) for path in place.glob("*") if not path.name.endswith(KEPT)]
    return sorted(found)


def judged(result: dict[str, Any]) -> list[str]:
    """What misses an aim. Pure."""
    cost = round(sum(result["processor_seconds_a_minute"].values()), 1)
    misses = []
    if cost > AIM_PROCESSOR_SECONDS:
        misses.append(f"{cost} processor seconds a minute; at most {AIM_PROCESSOR_SECONDS:g} are aimed at")
    if result["down_seconds"] > AIM_DOWN_SECONDS:
        misses.append(f"down took {result['down_seconds']} s; at most {AIM_DOWN_SECONDS:g} s are aimed at")
    if result["left"]:
        misses.append(f"{len(result['left'])} things are left, such as {result['left'][0]}")
    return misses


def report(result: dict[str, Any]) -> str:
    """Markdown of a result. Pure."""
    costs = result["processor_seconds_a_minute"]
    rows = [[name, markdown.shown(cost)] for name, cost in costs.items() if cost >= 0.01]
    rows.append(["all", markdown.shown(round(sum(costs.values()), 2))])
    return "\n".join(
        [
            "# A cluster that nobody asks\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"{result['nodes']} nodes on one machine. Beside it ran: {result['beside']}. Files of the nodes grew by "
            f"{result['log_bytes_an_hour'] / 1e6:.1f} MB an hour. `down` took {result['down_seconds']} s and left "
            f"{len(result['left'])} things.\n",
            markdown.table(["process", "processor seconds a minute"], rows),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


def smoke() -> int:
    """This process and its like are looked at, whether a cluster runs or not."""
    nodes = local_cluster.nodes()
    costs, seconds, _ = idle(nodes, 0.1)
    show("idle", f"{len(costs)} kinds of processes in {seconds:.1f} s; {kind('python -P -m a.b.c d')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
