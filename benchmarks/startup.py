"""How long a cluster takes to be there, and how much memory it holds: the lab's hosts, and the laptop cluster.

`python -m benchmarks.startup`. Parts: `lab` (down and up of three hosts, image built), `laptop` (down, then the command
line until the first right answer, runtime installed; memory after some answers), `memory` (of a laptop cluster that
runs, changing nothing). Exit 0 measured, 1 some figure is missing, 2 could not measure.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from typing import Any

import images
import lab
from benchmarks import common
from benchmarks.smoke import add_argument, report_kept
from deploys.settings import Settings
from experiments import local_cluster, machine, measures
from experiments.errors import ExperimentError
from experiments.measures import MIB
from experiments.report import markdown, results
from experiments.report.progress import show
from facts.sources import REPOSITORY

LAB_COMPUTE_HOSTS = 2
UP_SECONDS = 1800.0
DOWN_SECONDS = 300.0
POLL_SECONDS = 0.25


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen parts; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return smoke()
    result = results.begun("startup", versions={"python": machine.describe()["python"], "pyinfra": version("pyinfra")})
    try:
        path = common.result_path("startup")
        refuse_what_is_in_use(options)
        if "lab" in options.parts:
            result["lab"] = measure_lab(options.lab_runs)
            results.write(path, result, report(result))
        if "laptop" in options.parts:
            measure_laptop(options, result)
            results.write(path, result, report(result))
        if "memory" in options.parts:
            answers(local_cluster.nodes()[0], options.answers, result["misses"])
            result["memory"] = [memory_now()]
            results.write(path, result, report(result))
    except (ExperimentError, lab.LabError) as error:
        print(f"startup: {error}", file=sys.stderr)
        return 2
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=["lab", "laptop", "memory"], default=["lab", "laptop"])
    parser.add_argument("--lab-runs", type=int, default=5)
    parser.add_argument("--laptop-runs", type=int, default=3)
    parser.add_argument("--answers", type=int, default=8, help="answers served before memory is read")
    parser.add_argument("--up", default="./cluster up --json", help="command line that brings the laptop cluster up")
    parser.add_argument("--down", default="./cluster down", help="command line that takes it down")
    parser.add_argument("--replace", action="store_true", help="take down a lab or a laptop cluster that is up now")
    add_argument(parser)
    return parser


def refuse_what_is_in_use(options: argparse.Namespace) -> None:
    """BenchmarkError before anything that runs is taken down without being told to, or the runtime would be built."""
    if "lab" in options.parts and lab.state() and not options.replace:
        raise ExperimentError("a lab is up; take it down, or give --replace")
    if "laptop" in options.parts:
        head = local_cluster.nodes()[0]
        if local_cluster.answers_at_all(head) and not options.replace:
            raise ExperimentError("a laptop cluster is up; take it down, or give --replace")
        if not local_cluster.runtime_is_there(head):
            raise ExperimentError(f"the locked runtime is not built yet; run `{options.up}` once, then measure")


def measure_lab(runs: int) -> dict[str, Any]:
    """Seconds of `up` and of `down`, alternating; the first `up` is not counted, because it may build the image."""
    lab.up(LAB_COMPUTE_HOSTS, show, images.lab_image(show))
    up: list[float] = []
    down: list[float] = []
    for _ in range(runs):
        started = time.monotonic()
        lab.down(show)
        down.append(time.monotonic() - started)
        started = time.monotonic()
        lab.up(LAB_COMPUTE_HOSTS, show, images.lab_image(show))
        up.append(time.monotonic() - started)
        states = lab.host_states()
        show("lab", f"up in {up[-1]:.2f} s: {', '.join(f'{name} {state}' for name, state in states.items())}")
    lab.down(show)
    return {"hosts": LAB_COMPUTE_HOSTS + 1, "up": _timed(up), "down": _timed(down)}


def measure_laptop(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Start, serve and measure `laptop_runs` times; the cluster is left up."""
    head = local_cluster.nodes()[0]
    result["laptop_command"] = options.up
    first: list[float] = []
    whole: list[float] = []
    memories: list[dict[str, Any]] = []
    for run in range(1, options.laptop_runs + 1):
        take_down(options.down, head)
        try:
            seconds_to_answer, seconds_to_end = bring_up(options.up, head)
        except ExperimentError as error:
            result["misses"].append(f"laptop, run {run}: {error}")
            continue
        first.append(seconds_to_answer)
        whole.append(seconds_to_end)
        show("laptop", f"run {run}: answer after {seconds_to_answer:.1f} s, command ended after {seconds_to_end:.1f} s")
        answers(head, options.answers, result["misses"])
        memories.append(memory_now())
    result["laptop"] = {"first_answer": _timed(first), "command": _timed(whole)}
    result["memory"] = memories


def take_down(command: str, head: Settings) -> None:
    """Run the command; ExperimentError when something still answers after it."""
    try:
        done = subprocess.run(
            shlex.split(command), cwd=REPOSITORY, capture_output=True, text=True, timeout=DOWN_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExperimentError(f"{command}: {error}") from None
    if done.returncode:
        raise ExperimentError(f"{command}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    if local_cluster.answers_at_all(head):
        raise ExperimentError(f"{command}: the API still answers at {head.endpoint}")


def bring_up(command: str, head: Settings) -> tuple[float, float]:
    """Seconds from the command's start to the first right answer over the API, and to the command's end.

    The answer is asked for from outside while the command runs, so that the time is a user's and not the command's own.
    """
    with tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                shlex.split(command), cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        except OSError as error:
            raise ExperimentError(f"{command}: {error}") from None
        # Noted by a thread of its own: an answer that is long in coming must not delay it.
        ended: list[float] = []

        def note_the_end() -> None:
            process.wait()
            ended.append(time.monotonic() - started)

        watch = threading.Thread(target=note_the_end, daemon=True)
        watch.start()
        answered = 0.0
        try:
            while not (answered and ended):
                if not answered and local_cluster.ask(head):
                    answered = time.monotonic() - started
                if ended and process.returncode:
                    errors.seek(0)
                    raise ExperimentError(f"{command}: exit {process.returncode}: {errors.read().strip()[-300:]}")
                if time.monotonic() - started > UP_SECONDS:
                    raise ExperimentError(f"{command}: no right answer and end after {UP_SECONDS:g} s")
                watch.join(POLL_SECONDS)
                if ended and not answered:
                    time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                watch.join(60)
    return answered, ended[0]


def answers(head: Settings, number: int, misses: list[str]) -> None:
    """Ask `number` times, one after the other; a wrong answer is a miss."""
    wrong = sum(not local_cluster.ask(head) for _ in range(number))
    if wrong:
        misses.append(f"laptop: {wrong} of {number} answers were wrong or did not come")


def memory_now() -> dict[str, Any]:
    """Node -> its memory, as it is now."""
    return {
        part.node: {
            "role": part.role,
            "bytes": part.total_bytes,
            "processes": part.processes,
            "engines": part.engines,
        }
        for part in map(local_cluster.memory_of, local_cluster.nodes())
    }


def report(result: dict[str, Any]) -> str:
    """The results as Markdown. Pure."""
    rows = []
    if "lab" in result:
        hosts = result["lab"]["hosts"]
        rows += [_row(f"lab of {hosts} hosts up, image built", result["lab"]["up"])]
        rows += [_row(f"lab of {hosts} hosts down", result["lab"]["down"])]
    if "laptop" in result:
        command = result["laptop_command"]
        rows += [_row(f"laptop: `{command}` to first right answer", result["laptop"]["first_answer"])]
        rows += [_row(f"laptop: `{command}` to its end", result["laptop"]["command"])]
    parts = [
        "# Time to start, memory at rest\n",
        markdown.about(result["machine"], result["versions"], result["started"]),
    ]
    if rows:
        parts += [markdown.table(["what", "runs", "median s", "least s", "most s"], rows), ""]
    if result.get("memory"):
        parts += [memory_table(result["memory"]), "", "Memory is the proportional set size, read after some answers.\n"]
    return "\n".join([*parts, markdown.listed_misses(result["misses"])])


def memory_table(memories: list[dict[str, Any]]) -> str:
    """Memory of each node over the runs as Markdown. Pure."""
    rows = []
    for node, last in memories[-1].items():
        sizes = measures.spread([memory[node]["bytes"] / MIB for memory in memories if node in memory])
        figures = [markdown.shown(sizes[key], 0) for key in ("median", "least", "most")]
        rows.append(
            [f"{node} ({last['role']})", str(sizes["runs"]), *figures, str(last["processes"]), str(last["engines"])]
        )
    return markdown.table(
        ["node", "runs", "median MiB", "least MiB", "most MiB", "processes", "engine processes"], rows
    )


def _timed(seconds: list[float]) -> dict[str, Any]:
    return {"seconds": measures.spread(seconds), "each": [round(value, 3) for value in seconds]}


def _row(what: str, timed: dict[str, Any]) -> list[str]:
    seconds = timed["seconds"]
    return [what, str(seconds["runs"]), *(markdown.shown(seconds[key], 1) for key in ("median", "least", "most"))]


def smoke() -> int:
    """The laptop cluster's nodes are looked for, whether they run or not; kept results are reported."""
    for node in local_cluster.nodes():
        show("memory", f"{node.node}: {len(local_cluster.processes_of(node).names)} processes")
    return report_kept("startup", report)


if __name__ == "__main__":
    sys.exit(main())
