"""That hosts heal when the controller of their faults dies: it is killed with -9 in the middle of every fault.

`python -m benchmarks.fault_healing` on a lab that is up; no cluster has to run on it. `--install` brings the tools that
some faults need. Each round does its faults at one time, measures the network while they are there, kills the
controller, and waits for the hosts' own timers; then every host is read back. Exit 0: all healed, nothing left, and
each network fault was felt. 1: something was not, see "Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import report_kept, run
from experiments import machine
from experiments.errors import ExperimentError
from experiments.lab_cluster import LabCluster, read_cluster
from experiments.report import markdown, results
from experiments.report.progress import show
from experiments.schedule import healing_matrix
from experiments.schedule.dead_man import Round, end_probe, prove, serve_probe, timer_seconds
from facts.sources import REPOSITORY

_PROBE_SECONDS = 1800.0
_INSTALL_SECONDS = 900


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_healing", description=__doc__)
    parser.add_argument("--install", action="store_true", help="first install the tools of faults on the lab's hosts")
    return run("fault_healing", parser, arguments, _measure, smoke)


def _measure(options: argparse.Namespace) -> int:
    cluster = read_cluster("lab", deployed=False)
    if options.install:
        install()
    result = results.begun("fault_healing", versions={"python": machine.describe()["python"]})
    result["rounds"] = []
    asyncio.run(_rounds(cluster, result))
    path = common.result_path("fault_healing")
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def install() -> None:
    """Apply the deploy of the fault tools to the lab; ExperimentError with pyinfra's last words."""
    program = Path(sys.executable).with_name("pyinfra")
    words = [str(program), "-y", "inventories/lab.py", "deploys.faults.deploy.fault_tools"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode:
        raise ExperimentError(f"the tools of faults were not installed: {done.stderr.strip()[-500:]}")


async def _rounds(cluster: LabCluster, result: dict[str, Any]) -> None:
    await healing_matrix.prepare(cluster)
    await serve_probe(cluster, _PROBE_SECONDS)
    try:
        for number, cases in enumerate(healing_matrix.rounds(sorted(cluster.declared)), start=1):
            show("round", f"{number}: {', '.join(f'{case.name} on {case.node}' for case in cases)}")
            done = await prove(cluster, "lab", cases)
            result["rounds"].append({"timer_seconds": timer_seconds(cases), **as_data(done)})
            result["misses"] += [
                f"round {number}: {miss}" for miss in [*done.misses, *healing_matrix.unfelt(cases, done)]
            ]
    finally:
        await end_probe(cluster)
        await healing_matrix.clean(cluster)


def as_data(done: Round) -> dict[str, Any]:
    """A round for the result; times are seconds after the controller was killed."""
    return {
        "faults": [
            {
                "name": window.name,
                "nodes": window.nodes,
                "means": window.detail,
                "healed_by": window.healed_by,
                "there_seconds": _rounded(window.healed, window.took_effect),
                "healed_after_kill_seconds": _rounded(window.healed, done.killed),
            }
            for window in done.windows
        ],
        **{name: getattr(done, name) for name in ("before", "during", "after", "left")},
    }


def _rounded(value: float | None, since: float | None) -> float | None:
    return None if value is None or since is None else round(value - since, 2)


def report(result: Mapping[str, Any]) -> str:
    """Markdown of a result. Pure."""
    faults = [{**entry, "timer_seconds": one["timer_seconds"]} for one in result["rounds"] for entry in one["faults"]]
    rows = [
        [
            f"{entry['name']} on {', '.join(entry['nodes'])}",
            entry["means"],
            markdown.shown(entry["timer_seconds"], 0),
            markdown.shown(entry["there_seconds"], 1),
            markdown.shown(entry["healed_after_kill_seconds"], 1),
            entry["healed_by"] or "nobody",
        ]
        for entry in faults
    ]
    ways = []
    for one in result["rounds"]:
        for node, before in one["before"].items():
            names = [entry["name"] for entry in one["faults"] if node in entry["nodes"]]
            seen = (before, one["during"].get(node), one["after"].get(node))
            ways.append([f"{node}: {', '.join(names)}", *_cells(seen)])
    lines = [
        "# Hosts that heal though the controller of their faults is dead",
        "",
        markdown.about(result["machine"], result["versions"], result["started"]),
        "The controller was killed with -9 when all faults of a round were there; it would have held them for minutes "
        "more. Seconds; a host that hangs comes back by itself.",
        "",
        markdown.table(["fault", "done with", "timer set to", "was there", "healed after the kill", "healed by"], rows),
        "",
        "The way from the node to the control node, before, with and after its faults:",
        "",
        markdown.table(["node and faults", "round trip, ms", "spread, ms", "lost, %", "Mbit/s"], ways),
        "",
        markdown.listed_misses(result["misses"]),
    ]
    return "\n".join(lines)


def _cells(ways: Sequence[Mapping[str, Any] | None]) -> list[str]:
    keys = ("round_trip_milliseconds", "spread_milliseconds", "lost_percent", "megabits_per_second")
    return [" / ".join(markdown.shown((way or {}).get(key), 1) for way in ways) for key in keys]


def smoke() -> int:
    """Kept results are reported anew, and the plan of the rounds is checked; nothing is broken."""
    for cases in healing_matrix.rounds(["compute0", "compute1"]):
        show("round", healing_matrix.checked(cases))
    return report_kept("fault_healing", report)


if __name__ == "__main__":
    sys.exit(main())
