"""What the tests cost: processor and wall seconds of the unit tests, of `./cluster test --quick` and of all of it.

`python -m benchmarks.ci_times --against DIR --only unit quick` measures another checkout and this one in turns, so that
what else the machine does falls on both. `whole` takes up to an hour and wants root and a quiet machine. A run that
fails is a miss: its time says nothing. Both run at the same niceness, which `--nice` adds to.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import add_argument
from experiments import machine, measures
from experiments.report import markdown, results
from facts.sources import REPOSITORY

WORKERS = ("--numprocesses", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal")
KINDS: dict[str, tuple[str, ...]] = {
    "unit": ("-m", "pytest", "-q", *WORKERS, "tests/unit"),
    "quick": ("-m", "tests.run", "--quick"),
    "whole": ("-m", "tests.run"),
}
TARGET_SECONDS = {"unit": 90, "quick": 180, "whole": 2400}
DEADLINE_SECONDS = 3 * 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; exit 1 when a run of the tests failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ci_times", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turns with this one")
    parser.add_argument("--names", nargs=2, default=("before", "after"), help="names of --against and of this checkout")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=["unit", "quick"], help="these kinds")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each checkout")
    parser.add_argument("--nice", type=int, default=0, help="niceness to run them with, both the same")
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke()
    other, this = options.names
    checkouts = {other: options.against.resolve(), this: REPOSITORY} if options.against else {this: REPOSITORY}
    result = measure(checkouts, {kind: KINDS[kind] for kind in options.only}, options.rounds, options.nice)
    path = common.result_path("ci_times")
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def measure(
    checkouts: dict[str, Path], kinds: dict[str, tuple[str, ...]], rounds: int, niceness: int
) -> dict[str, Any]:
    """All figures: checkout -> kind -> list of {processor_seconds, wall_seconds, load_before, tests, steps}."""
    result = results.begun(
        "ci_times", rounds=rounds, niceness=niceness, versions={"python": machine.describe()["python"]}
    )
    taken: dict[str, dict[str, list[dict[str, Any]]]] = {name: {kind: [] for kind in kinds} for name in checkouts}
    for kind, words in kinds.items():
        for number in range(1, rounds + 1):
            for name, directory in checkouts.items():
                figures = run(directory, words, niceness)
                taken[name][kind].append(figures)
                if figures["status"]:
                    result["misses"].append(f"{kind}, round {number}, {name}: it ended with {figures['status']}")
                print(
                    f"  {kind} {number}/{rounds} {name}: {figures['wall_seconds']:.0f} s", file=sys.stderr, flush=True
                )
    result["commits"] = {name: common.commit_of(directory) for name, directory in checkouts.items()}
    result["checkouts"] = taken
    return result


def run(directory: Path, words: Sequence[str], niceness: int) -> dict[str, Any]:
    """Run a checkout's tests; its figures, the number of tests, and the seconds of each step where it tells them."""
    python = directory / ".venv" / "bin" / "python"
    if not list(directory.glob(".venv/lib/python*/site-packages/xdist")):  # of before tests ran side by side
        words = [word for word in words if word not in WORKERS]
    load = machine.load_average()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        ["nice", "-n", str(niceness), str(python), *words],
        cwd=directory,
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(directory / ".venv" / "compiled")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    steps = re.findall(r"^== seconds: (.*)$", done.stdout, re.MULTILINE)
    return {
        "processor_seconds": round(processor, 1),
        "wall_seconds": round(wall, 1),
        "load_before": load,
        "tests": sum(int(number) for number in re.findall(r"\b(\d+) passed", done.stdout)),
        "steps": steps[-1] if steps else "",
        "status": done.returncode,
    }


def report(result: dict[str, Any]) -> str:
    """The figures as Markdown: the median of each kind's runs with least and most, and what it is meant to take."""
    rows = []
    for name, kinds in result["checkouts"].items():
        for kind, entries in kinds.items():
            tests = str(max(entry["tests"] for entry in entries))
            figures = [spread([entry[key] for entry in entries]) for key in ("processor_seconds", "wall_seconds")]
            rows.append(
                [kind, f"{name} {result['commits'][name]}", tests, *figures, str(TARGET_SECONDS.get(kind, "-"))]
            )
    loads = [
        entry["load_before"] for kinds in result["checkouts"].values() for runs in kinds.values() for entry in runs
    ]
    steps = [
        f"- {name}, {kind}: {entry['steps']}"
        for name, kinds in result["checkouts"].items()
        for kind, entries in kinds.items()
        for entry in entries
        if entry["steps"]
    ]
    parts = [
        "# What the tests cost",
        markdown.about(result["machine"], result["versions"], result["started"]),
        f"{result['rounds']} runs of each, in turns, at niceness {result['niceness']}; load before the runs: "
        f"{min(loads)} to {max(loads)}. The targets are for wall time on two cores that do nothing else.",
        markdown.table(["kind", "checkout", "tests", "processor s", "wall s", "target s"], rows),
        *(["Seconds of the steps:\n\n" + "\n".join(steps)] if steps else []),
        markdown.listed_misses(result["misses"]),
    ]
    return "\n\n".join(parts)


def spread(values: Sequence[float]) -> str:
    """Median, least and most, for people."""
    found = measures.spread(list(values))
    return f"{found['median']:.0f} ({found['least']:.0f} to {found['most']:.0f})"


def smoke() -> int:
    """A run that only says what tests say at their end, in the tests' place."""
    said = "print('== seconds: style 1, side by side 2'); print('3 passed, 1 skipped in 2.00s')"
    result = measure({"this": REPOSITORY}, {"nothing": ("-c", said)}, rounds=2, niceness=0)
    print(report(result))
    figures = result["checkouts"]["this"]["nothing"][0]
    told = (figures["tests"], figures["steps"]) == (3, "style 1, side by side 2")
    return 0 if told and not result["misses"] else 1


if __name__ == "__main__":
    sys.exit(main())
