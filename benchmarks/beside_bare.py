"""How long a laptop cluster takes to its first right answer, beside bare vLLM servers on the same machine.

`python -m benchmarks.beside_bare`. In turns: as many bare servers as the cluster has engines, started at once with the
engines' arguments; then `cluster up`, with the runtime there. Each is asked the golden question all the time. Exit 0:
the ratio of the medians is at most 1.3. 1: it is more, or something did not answer. 2: could not measure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import common, startup
from benchmarks.gateway import bare_environment, declared_engine
from benchmarks.smoke import run
from deploys import runtime_lock
from deploys.settings import Settings
from experiments import local_cluster, measures, servers
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from experiments.report.progress import show
from facts.sources import REPOSITORY

NAME = "beside_bare"
AIM = 1.3
BARE_PORT = 18300
POLL_SECONDS = 0.25
BARE, CLUSTER, COMMAND = "bare vLLM", "cluster", "cluster, its command's end"


def main(arguments: list[str] | None = None) -> int:
    """Measure `--rounds` times; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--up", default="./cluster up --json", help="command line that brings the laptop cluster up")
    parser.add_argument("--down", default="./cluster down", help="command line that takes it down")
    parser.add_argument(
        "--beside", default="nothing", help="what else the machine does meanwhile; kept with the result"
    )
    return run(NAME, parser, arguments, measure, smoke)


def measure(options: argparse.Namespace) -> int:
    """The two take turns, so that both meet the same machine; the cluster is taken down at the end."""
    head, *others = local_cluster.nodes()
    workers = [node for node in others if node.runs_engine]
    if not local_cluster.runtime_is_there(head):
        raise ExperimentError(f"the locked runtime is not built yet; run `{options.up}` once, then measure")
    lock = runtime_lock.load(head.runtime)
    result = results.begun(
        NAME,
        versions={"runtime": lock.name, "model": head.model.name},
        options={"rounds": options.rounds, "up": options.up},
        engines=len(workers),
        beside=options.beside,
        seconds={BARE: [], CLUSTER: [], COMMAND: []},
    )
    path = common.result_path(NAME)
    for number in range(1, options.rounds + 1):
        startup.take_down(options.down, head)
        bare = bare_seconds(workers)
        answered, ended = startup.bring_up(options.up, head)
        for name, value in ((BARE, bare), (CLUSTER, answered), (COMMAND, ended)):
            result["seconds"][name].append(round(value, 2))
        show("round", f"{number}: bare {bare:.1f} s, cluster {answered:.1f} s, its command {ended:.1f} s")
        result["misses"] = judged(result["seconds"])
        results.write(path, result, report(result))
    startup.take_down(options.down, head)
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def bare_seconds(workers: list[Settings]) -> float:
    """Seconds until one of the bare servers, started at once, has given a right answer; then all are ended."""
    found: list[float] = []
    failed: list[str] = []
    done = threading.Event()
    started = time.monotonic()

    def one(node: Settings, port: int) -> None:
        model = {"name": node.model.name, "directory": node.model.directory}
        flags = servers.engine_flags(declared_engine(node))
        runtime = Path(runtime_lock.directory(node))
        place = (node.network.address, port)
        try:
            with servers.bare_engine(runtime, model, flags, bare_environment(node), place) as server:
                while not local_cluster.ask(node, f"{server.url}/v1"):
                    time.sleep(POLL_SECONDS)
                found.append(time.monotonic() - started)
                done.wait()
        except ExperimentError as error:
            failed.append(str(error))
            done.set()

    threads = [threading.Thread(target=one, args=(node, BARE_PORT + number)) for number, node in enumerate(workers)]
    for thread in threads:
        thread.start()
    # Both are to be there before either is ended: an end would leave the other one the machine.
    while len(found) < len(workers) and not failed:
        time.sleep(POLL_SECONDS)
    done.set()
    for thread in threads:
        thread.join()
    if failed:
        raise ExperimentError(failed[0])
    return min(found)


def judged(seconds: dict[str, list[float]]) -> list[str]:
    """What misses the aim. Pure."""
    found = ratio(seconds, CLUSTER)
    if found is None or found > AIM:
        return [f"the cluster took {markdown.shown(found)} times what bare vLLM took; at most {AIM} is aimed at"]
    return []


def ratio(seconds: dict[str, list[float]], name: str) -> float | None:
    """Median of one over bare vLLM's median. Pure."""
    return measures.ratio(measures.spread(seconds[name])["median"], measures.spread(seconds[BARE])["median"])


def report(result: dict[str, Any]) -> str:
    """Markdown of a result. Pure."""
    rows = []
    for name, values in result["seconds"].items():
        figures = measures.spread(values)
        cells = [markdown.shown(figures[key], 1) for key in ("median", "least", "most")]
        rows.append([name, str(figures["runs"]), *cells, markdown.shown(ratio(result["seconds"], name))])
    return "\n".join(
        [
            "# A start beside bare vLLM\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"Seconds to the first right answer; {result['engines']} engines, as many bare servers at once. Beside it "
            f"ran: {result['beside']}. Load before: {result['load_before']}.\n",
            markdown.table(["what", "runs", "median s", "least s", "most s", "of bare"], rows),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


def smoke() -> int:
    """The report of invented seconds, and what bare servers would be started with."""
    for node in local_cluster.nodes():
        if node.runs_engine:
            show("bare", f"{node.node}: {' '.join(servers.engine_flags(declared_engine(node)))}")
    seconds = {BARE: [10.0, 12.0], CLUSTER: [11.0, 13.0], COMMAND: [20.0, 20.0]}
    with contextlib.redirect_stderr(sys.stdout):
        show("report", f"{ratio(seconds, CLUSTER)} of bare, {len(judged(seconds))} misses")
    return len(judged(seconds))


if __name__ == "__main__":
    sys.exit(main())
