"""From a fresh clone to the first proven answer on a machine that has nothing of this project yet.

`python -m benchmarks.fresh_machine`: clones this checkout's last commit, and types `./cluster up` with an empty home:
the tool's environment, the engine's runtime and the weights are all made or fetched. Everything is removed again.
Packages come from the package index that this machine uses, so its speed is in the figure. Exit 0: within the aim of
150 s, 1: not, 2: could not measure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import report_kept, run
from experiments import local_cluster
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from facts.sources import REPOSITORY
from operate.phases import SAYS

NAME = "fresh_machine"
AIM_SECONDS = 150.0
UP_SECONDS = 1800.0
# What would let a fresh machine find what this one has; the place of the package index stays.
_KEPT_PLACES = ("CLUSTER_", "XDG_", "UV_CACHE", "PIP_CACHE", "VIRTUAL_ENV", "PYTHON")


def main(arguments: list[str] | None = None) -> int:
    """Clone, up, down, away; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument(
        "--beside", default="nothing", help="what else the machine does meanwhile; kept with the result"
    )
    return run(NAME, parser, arguments, measure, lambda: report_kept(NAME, report))


def measure(options: argparse.Namespace) -> int:
    """One fresh start."""
    if local_cluster.answers_at_all(local_cluster.nodes()[0]):
        raise ExperimentError("a laptop cluster is up; take it down with `./cluster down`, then measure")
    result = results.begun(
        NAME, versions={"commit": _said("git", "rev-parse", "--short", "HEAD")}, beside=options.beside
    )
    with tempfile.TemporaryDirectory(prefix="fresh-machine-") as place:
        home, clone = Path(place, "home"), Path(place, "cluster")
        home.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_PLACES)}
        environment |= {"HOME": str(home), "NO_COLOR": "1"}
        _said("git", "clone", "--quiet", str(REPOSITORY), str(clone))
        began = time.monotonic()
        try:
            up = subprocess.run(
                ["./cluster", "up", "--json"],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
                timeout=UP_SECONDS,
                check=False,
            )
            result["seconds"] = round(time.monotonic() - began, 1)
        finally:
            subprocess.run(["./cluster", "down"], cwd=clone, env=environment, capture_output=True, check=False)
    if up.returncode:
        raise ExperimentError(f"./cluster up: exit {up.returncode}: {up.stderr.strip()[-500:]}")
    said = json.loads(up.stdout)
    result["phases"] = {entry["phase"]: entry["seconds"] for entry in said["phases"]}
    if result["seconds"] > AIM_SECONDS:
        result["misses"].append(f"{result['seconds']:.0f} s; at most {AIM_SECONDS:.0f} s are aimed at")
    path = common.result_path(NAME)
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


def report(result: dict[str, Any]) -> str:
    """Markdown of a result. Pure."""
    phases = result["phases"]
    rows = [["the tool's environment, and all beside `up`", f"{result['seconds'] - sum(phases.values()):.1f}"]]
    rows += [[SAYS.get(name, name), f"{seconds:.1f}"] for name, seconds in phases.items()]
    rows.append(["all", f"{result['seconds']:.1f}"])
    return "\n".join(
        [
            "# A fresh clone on a machine that has nothing\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"Seconds of `./cluster up` until it ended with a proven answer. Beside it ran: {result['beside']}.\n",
            markdown.table(["what", "seconds"], rows),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExperimentError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
