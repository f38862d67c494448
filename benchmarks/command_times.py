"""What the command itself costs: processor and wall seconds of `--help`, `status` and an `up` with nothing to do.

`python -m benchmarks.command_times` measures this checkout on the laptop cluster; `--against DIR` measures another
checkout too, in turns, round by round. Each checkout first brings the cluster to what it declares, so that its `up`
has nothing to do; one that changes something all the same is a miss. The cluster is left as this checkout declares it.

Processor seconds are user and system time of the command and of all its children. On the laptop the hosts are
processes of the same machine, so that what is asked of them counts too; engines and other services do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import add_argument, report_kept
from experiments import machine, measures
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from facts.sources import REPOSITORY

COMMANDS: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "completion": (),
    "status": ("status",),
    "up, nothing to do": ("up", "--json"),
}
# What a shell asks for when somebody types `cluster st` and a tab.
COMPLETION = {"_CLUSTER_COMPLETE": "bash_complete", "COMP_WORDS": "cluster st", "COMP_CWORD": "1"}
DEADLINE_SECONDS = 1800.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; exit 1 when an `up` had something to do, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.command_times", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turns with this one")
    parser.add_argument("--names", nargs=2, default=("before", "after"), help="names of --against and of this checkout")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each checkout")
    parser.add_argument("--runs", type=int, default=3, help="runs of each command in a turn")
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), help="these commands")
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke()
    other, this = options.names
    checkouts = {this: REPOSITORY}
    if options.against:
        checkouts = {other: options.against.resolve(), this: REPOSITORY}
    try:
        result = measure(checkouts, options.only, options.rounds, options.runs)
    except ExperimentError as error:
        print(f"command_times: {error}", file=sys.stderr)
        return 2
    path = common.result_path("command_times")
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def measure(checkouts: dict[str, Path], only: Sequence[str], rounds: int, runs: int) -> dict[str, Any]:
    """All figures: checkout -> command -> list of {processor_seconds, wall_seconds}."""
    result = results.begun("command_times", rounds=rounds, runs=runs, versions={"python": machine.describe()["python"]})
    taken: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {command: [] for command in only} for name in checkouts
    }
    needs_cluster = any(command in only for command in ("status", "up, nothing to do"))
    for number in range(1, rounds + 1):
        for name, directory in checkouts.items():
            if needs_cluster:
                _say(f"{number}/{rounds} {name}: bringing the cluster to what it declares")
                run(directory, ("up", "--json"))
            for command in only:
                for _ in range(runs):
                    figures, said = run(directory, COMMANDS[command], **({} if COMMANDS[command] else COMPLETION))
                    taken[name][command].append(figures)
                    if command.startswith("up") and json.loads(said)["changed"]:
                        changed = json.loads(said)["changed"]
                        result["misses"].append(f"round {number}, {name}: `up` made {changed} changes")
                median = measures.spread([entry["processor_seconds"] for entry in taken[name][command]])["median"]
                _say(f"{number}/{rounds} {name}: {command}: {median} s of processor")
    result["commits"] = {name: common.commit_of(directory) for name, directory in checkouts.items()}
    result["load_after"] = machine.load_average()
    result["checkouts"] = {
        name: {
            command: {
                "processor": measures.spread([entry["processor_seconds"] for entry in entries]),
                "wall": measures.spread([entry["wall_seconds"] for entry in entries]),
                "runs": entries,
            }
            for command, entries in commands.items()
        }
        for name, commands in taken.items()
    }
    return result


def run(directory: Path, arguments: Sequence[str], **environment: str) -> tuple[dict[str, float], str]:
    """Run a checkout's command; its figures and what it said. ExperimentError when it fails."""
    program = directory / ".venv" / "bin" / "cluster"
    if not program.is_file():
        raise ExperimentError(f"{program} is missing; run {directory / 'cluster'} --help once, which makes it")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [str(program), *arguments],
        cwd=directory,
        env={**os.environ, "CLUSTER": "laptop", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ExperimentError(f"`{directory.name}: cluster {' '.join(arguments)}` exits {done.returncode}: {last}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_seconds": round(processor, 3), "wall_seconds": round(wall, 3)}, done.stdout


def report(result: dict[str, Any]) -> str:
    """The figures as Markdown: medians with least and most, and by how much the last checkout is quicker."""
    names = list(result["checkouts"])
    head = ["command", *(f"{name}, {kind} s" for kind in ("processor", "wall") for name in names)]
    if len(names) == 2:
        head.append("processor, ratio")
    rows = []
    for command in result["checkouts"][names[0]]:
        found = [result["checkouts"][name][command] for name in names]
        row = [f"`{command}`" if command.startswith("-") else command]
        row += [_figure(entry["processor"]) for entry in found] + [_figure(entry["wall"]) for entry in found]
        if len(names) == 2:
            row.append(markdown.shown(measures.ratio(*(entry["processor"]["median"] for entry in found)), 1))
        rows.append(row)
    commits = ", ".join(f"{name} {commit}" for name, commit in result["commits"].items())
    load = f"Load of the machine: {result['load_before']} at the beginning, {result['load_after']} at the end."
    count = result["rounds"] * result["runs"]
    parts = [
        "# What the command costs",
        markdown.about(result["machine"], result["versions"], result["started"]),
        f"Commits: {commits}. {load}",
        f"Medians of {count} runs (least to most), in {result['rounds']} turns of each checkout.",
        markdown.table(head, rows),
        markdown.listed_misses(result["misses"]),
    ]
    return "\n\n".join(parts)


def _figure(spread: dict[str, Any]) -> str:
    least, most = markdown.shown(spread["least"], 2), markdown.shown(spread["most"], 2)
    return f"{markdown.shown(spread['median'], 2)} ({least} to {most})"


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def smoke() -> int:
    """What needs no cluster, once; kept results are reported."""
    result = measure({"this": REPOSITORY}, ["--help", "completion"], rounds=1, runs=1)
    print(report(result))
    return report_kept("command_times", report)


if __name__ == "__main__":
    sys.exit(main())
