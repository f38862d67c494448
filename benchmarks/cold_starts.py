"""Cold starts of the laptop cluster: is it ever said to be ready when it is not, and how long until it is.

`python -m benchmarks.cold_starts`. Before each start no process of any node is left: no engine, no Ray. During the
start the gateway is asked the golden question all the time, and every replica whether it is ready; a replica that says
so is asked the golden question at once. A false ready is a wrong answer with status 200, or a replica that says that it
is ready and then does not answer rightly. Exit 0: all starts came up, no false ready. 1: see "Misses". 2: could not
measure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from benchmarks import common, startup
from benchmarks.smoke import add_argument, report_kept
from deploys import runtime_lock
from experiments import local_cluster, machine, servers
from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load.client import Endpoint, client, clock
from experiments.report import results
from experiments.report.progress import show
from experiments.report.starts import report
from experiments.telemetry.listener import POLL_SECONDS, Listener
from experiments.telemetry.starts import judge_start, total
from facts.sources import REPOSITORY

SMOKE_ADDRESS = "127.0.0.89"


def main(arguments: list[str] | None = None) -> int:
    """Start `--starts` times; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(smoke(options) if options.smoke else _measure(options))
    except ExperimentError as error:
        print(f"cold_starts: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_starts", description=__doc__)
    parser.add_argument("--starts", type=int, default=20, help="starts in all, those of --resume among them")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on with this result, which was stopped")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds that a question may take")
    parser.add_argument("--start-seconds", type=float, default=600.0, help="seconds that a start may take")
    parser.add_argument("--after-seconds", type=float, default=5.0, help="asking goes on after everything was ready")
    parser.add_argument("--up", default="./cluster up --json", help="command line that brings the laptop cluster up")
    parser.add_argument("--down", default="./cluster down", help="command line that takes it down")
    parser.add_argument("--replace", action="store_true", help="take down a laptop cluster that is up now")
    add_argument(parser)
    return parser


async def _measure(options: argparse.Namespace) -> int:
    nodes = local_cluster.nodes()
    head, serving = nodes[0], [node for node in nodes if node.runs_engine]
    if local_cluster.answers_at_all(head) and not options.replace:
        raise ExperimentError("a laptop cluster is up; take it down, or give --replace")
    if not local_cluster.runtime_is_there(head):
        raise ExperimentError(f"the locked runtime is not built yet; run `{options.up}` once, then measure")
    fresh = results.begun(
        "cold_starts",
        versions={
            "python": machine.describe()["python"],
            "runtime": runtime_lock.load(head.runtime).name,
            "model": head.model.name,
            "httpx": version("httpx"),
        },
        options={name: value for name, value in vars(options).items() if name != "resume"},
        nodes=[node.node for node in serving],
        starts=[],
    )
    endpoint, golden = Endpoint(head.endpoint, head.model.name), local_cluster.golden(head)
    replicas = {node.node: local_cluster.engine_places(node) for node in serving}
    path = options.resume or common.result_path("cold_starts")
    result = resumed(path, fresh) if options.resume else fresh
    for number in range(len(result["starts"]) + 1, options.starts + 1):
        startup.take_down(options.down, head)
        left = engines_left()
        if left:
            raise ExperimentError(f"`{options.down}` left {', '.join(left)}; end them, then measure")
        with tempfile.TemporaryFile() as complaint:
            start = await one_start(options, endpoint, golden, replicas, complaint)
        result["starts"].append(start)
        result["misses"] += [f"start {number}: {miss}" for miss in start["misses"]]
        show("start", f"{number}: first right answer {start['first_answer_seconds']} s, {len(start['misses'])} misses")
        result["total"] = total(result["starts"])
        # After each start: a benchmark that is stopped has its results so far.
        results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def resumed(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The result so far; ExperimentError when what is measured now is something else."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        unlike = [name for name in ("benchmark", "versions", "nodes") if result[name] != fresh[name]]
    except (OSError, ValueError, KeyError) as error:
        raise ExperimentError(f"--resume {path}: not a result of cold starts ({error}); start afresh") from None
    if unlike:
        raise ExperimentError(f"--resume {path}: other {' and '.join(unlike)} than now; start afresh")
    result.setdefault("resumed", []).append({"at": fresh["started"], "after": len(result["starts"])})
    return result


def engines_left() -> list[str]:
    """Nodes that still have processes."""
    found = {node.node: local_cluster.processes_of(node).names for node in local_cluster.nodes()}
    return [f"{len(names)} processes of {node}" for node, names in found.items() if names]


async def one_start(
    options: argparse.Namespace,
    endpoint: Endpoint,
    golden: Question,
    replicas: Mapping[str, Sequence[str]],
    complaint: IO[bytes],
) -> dict[str, Any]:
    """Start, ask all the time until every replica and the command are done, and judge what was heard.

    `replicas`: node -> base addresses where its replica may listen.
    """
    begun = clock()
    listener = Listener(endpoint, golden, begun, options.deadline)
    process = await asyncio.create_subprocess_exec(
        *shlex.split(options.up),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=complaint,  # a file: a daemon that keeps its end of a pipe open would keep this waiting
        start_new_session=True,
    )
    names = list(replicas)
    async with client() as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(listener.gateway(session))]
        tasks += [group.create_task(listener.replica(session, *replica)) for replica in replicas.items()]
        try:
            async with asyncio.timeout(options.start_seconds):
                await process.wait()
                listener.command_seconds = clock() - begun
                while not listener.complete(names):
                    await asyncio.sleep(POLL_SECONDS)
                await asyncio.sleep(options.after_seconds)
        except TimeoutError:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                await process.wait()
        listener.stopped.set()
        await asyncio.gather(*tasks)
    start = judge_start(listener.events, names)
    start["command_seconds"] = listener.command_seconds and round(listener.command_seconds, 3)
    if process.returncode:
        complaint.seek(0)
        said = " ".join(complaint.read().decode(errors="replace").split())[-300:]
        start["misses"].append(f"`{options.up}`: exit {process.returncode}: {said}")
    return start


async def smoke(options: argparse.Namespace) -> int:
    """A start of nothing: a stub engine that is there before is gateway and replica; kept results are reported."""
    options.up, options.after_seconds, options.start_seconds = "true", 0.5, 20.0
    golden = Question("a?", 2, "a")
    with (
        servers.stub(SMOKE_ADDRESS, servers.free_port(SMOKE_ADDRESS), ttft_ms=5.0, itl_ms=1.0) as stub,
        tempfile.TemporaryFile() as complaint,
    ):
        start = await one_start(options, Endpoint(f"{stub.url}/v1", "stub"), golden, {"stub": [stub.url]}, complaint)
    print(json.dumps(start))
    return max(int(not start["correct"]), report_kept("cold_starts", report))


if __name__ == "__main__":
    sys.exit(main())
