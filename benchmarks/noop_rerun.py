"""How long a run takes that has nothing to do: this project's deploys beside an Ansible playbook of the same state.

`python -m benchmarks.noop_rerun` brings the lab to each size, deploys until nothing changes, and then lets the tools
take turns. A run that changed something or failed does not count. Exit 0 measured, 1 some figure is missing, 2 could
not measure.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import images
import lab
from benchmarks import common, tools
from benchmarks.smoke import add_argument, report_kept
from benchmarks.tools import Column, Run
from experiments import machine, measures
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from experiments.report.progress import show
from facts.sources import REPOSITORY
from hardware.model import GIB
from lab.boot import ssh_command

# Proportional set sizes of a serving cluster, read from /proc and rounded up: head, three engines of 2.4 GiB with their
# Ray workers, and the gateway; and a host that only runs a Ray worker.
BASE_BYTES = int(9.9 * GIB)
HOST_BYTES = int(0.4 * GIB)
DEPLOYS_UNTIL_CONVERGED = 4
EXTRA_ATTEMPTS = 2


def main(arguments: list[str] | None = None) -> int:
    """Measure all sizes; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return smoke() if options.smoke else _measure(options)
    except (ExperimentError, lab.LabError) as error:
        print(f"noop_rerun: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noop_rerun", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 8, 24], help="numbers of compute hosts")
    parser.add_argument("--runs", type=int, default=5, help="valid runs of each tool at each size")
    parser.add_argument("--ansible-playbook", default="", help="the program; default: beside this Python, or on PATH")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="COLUMN", help="columns of Ansible not to run")
    parser.add_argument("--alone", action="store_true", help="pyinfra's column only: the time a host, and no ratio")
    parser.add_argument("--replace", action="store_true", help="a lab that is up may be given another size")
    add_argument(parser)
    return parser


def _measure(options: argparse.Namespace) -> int:
    playbook = "" if options.alone else tools.program("ansible-playbook", options.ansible_playbook)
    found = lab.state()
    if found and not options.replace and {len(found.hosts) - 1} != set(options.sizes):
        raise ExperimentError(f"a lab of {len(found.hosts)} hosts is up; give --replace to let it be given other sizes")
    check_memory(max(options.sizes))
    path = common.result_path("noop_rerun")
    result: dict[str, Any] = {
        "benchmark": "noop_rerun",
        "started": results.now(),
        "machine": machine.describe(),
        "versions": versions(playbook),
        "runs_wanted": options.runs,
        "sizes": [],
    }
    whole = True
    for nodes in sorted(set(options.sizes)):
        check_memory(nodes)
        state = lab.up(nodes, show, images.lab_image(show))
        result["versions"].update(lab_versions(state))
        size = measure_size(state, playbook, options.runs, options.leave_out)
        result["sizes"].append(size)
        whole = whole and all(column["seconds"]["runs"] >= options.runs for column in size["columns"].values())
        # After each size: a benchmark that is stopped has its results so far.
        results.write(path, result, report(result))
        print(report(result), flush=True)
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 0 if whole else 1


def needed_bytes(nodes: int) -> int:
    """Memory that a lab of this size takes when it serves."""
    return BASE_BYTES + nodes * HOST_BYTES


def check_memory(nodes: int) -> None:
    """BenchmarkError when the machine has not enough for that many compute hosts, less what a lab now holds."""
    found = lab.state()
    held = needed_bytes(len(found.hosts) - 1) if found else 0
    needed, free = max(needed_bytes(nodes) - held, 0), machine.available_memory_bytes()
    if needed > free:
        raise ExperimentError(
            f"{nodes} compute hosts take about {needed / GIB:.1f} GiB more memory and {free / GIB:.1f} GiB are "
            "available; end other programs or leave this size out with --sizes"
        )


def measure_size(state: lab.LabState, playbook: str, runs: int, leave_out: list[str]) -> dict[str, Any]:
    """Converge the lab, then let the columns take turns until each has `runs` valid runs or has used its attempts."""
    hosts = [host.name for host in state.hosts]
    pyinfra = tools.pyinfra_column()
    converge(pyinfra, hosts)
    if not playbook:
        valid, misses = take_turns([pyinfra], hosts, runs)
        return measured(hosts, valid, [pyinfra], misses, prepared=[])
    with tempfile.TemporaryDirectory(prefix="noop-") as place:
        export(Path(place))
        ansible = [
            column
            for column in tools.ansible_columns(playbook, Path(place), forks=len(hosts))
            if column.name not in leave_out
        ]
        prepared = tools.run(ansible[0])
        if prepared.verdict.failed:
            raise ExperimentError(f"{ansible[0].name}: {prepared.verdict.complaint(hosts)}")
        columns = [pyinfra, *ansible]
        # Once each without a watch: connections that are kept are there, caches are warm, and the state is one for all.
        for column in columns:
            complaint = tools.run(column).verdict.complaint(hosts)
            if complaint:
                raise ExperimentError(f"{column.name} is no no-op after {pyinfra.name} converged: {complaint}")
        valid, misses = take_turns(columns, hosts, runs)
    return measured(hosts, valid, columns, misses, prepared=sorted(set(prepared.verdict.changed)))


def measured(
    hosts: list[str], valid: dict[str, list[Run]], columns: list[Column], misses: list[str], prepared: list[str]
) -> dict[str, Any]:
    """The figures of one size as plain data. Pure."""
    return {
        "compute_hosts": len(hosts) - 1,
        "hosts": len(hosts),
        # What Ansible's first run had to change on hosts that pyinfra had converged, such as its own requirements.
        "ansible_prepared": prepared,
        "columns": {column.name: summary(valid[column.name], len(hosts)) for column in columns},
        "ratios": ratios(valid, columns),
        "misses": misses,
    }


def converge(column: Column, hosts: list[str]) -> None:
    """Deploy until a run changes nothing."""
    complaint = ""
    for attempt in range(1, DEPLOYS_UNTIL_CONVERGED + 1):
        verdict = tools.run(column).verdict
        complaint = verdict.complaint(hosts)
        show("deploy", f"run {attempt}: {complaint or 'nothing changed'}")
        if not complaint:
            return
    raise ExperimentError(f"not converged after {DEPLOYS_UNTIL_CONVERGED} deploys: {complaint}")


def export(place: Path) -> None:
    """Write the playbook's input, in a process of its own: an inventory is read once in a process."""
    command = [sys.executable, "-m", "benchmarks.ansible.export", str(place)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ExperimentError(f"export for the playbook: {done.stderr.strip()[-400:]}")


def take_turns(columns: list[Column], hosts: list[str], runs: int) -> tuple[dict[str, list[Run]], list[str]]:
    """Rounds in which every column that lacks runs has one, each round beginning with another column."""
    valid: dict[str, list[Run]] = {column.name: [] for column in columns}
    misses: list[str] = []
    for turn in range(runs + EXTRA_ATTEMPTS):
        first = turn % len(columns)
        for column in [*columns[first:], *columns[:first]]:
            if len(valid[column.name]) >= runs:
                continue
            try:
                done = tools.run(column)
            except ExperimentError as error:
                misses.append(f"{len(hosts) - 1} compute hosts, {error}")
                continue
            complaint = done.verdict.complaint(hosts)
            show("run", f"{column.name}: {done.seconds:.2f} s {complaint}")
            if complaint:
                misses.append(f"{len(hosts) - 1} compute hosts, {column.name}: {complaint}")
            else:
                valid[column.name].append(done)
    return valid, misses


def summary(runs: list[Run], hosts: int) -> dict[str, Any]:
    """Figures of one column. Pure."""
    seconds = measures.spread([run.seconds for run in runs])
    return {
        "seconds": seconds,
        "seconds_per_host": round(seconds["median"] / hosts, 3) if seconds["median"] is not None else None,
        "processor_seconds": measures.spread([run.processor_seconds for run in runs]),
        "each": [{"seconds": r.seconds, "processor_seconds": r.processor_seconds, "load": r.load_before} for r in runs],
    }


def ratios(valid: dict[str, list[Run]], columns: list[Column]) -> dict[str, float | None]:
    """Each column's median time as a multiple of the first column's. Pure."""
    seconds = {column.name: measures.spread([run.seconds for run in valid[column.name]]) for column in columns}
    base = seconds[columns[0].name]["median"]
    return {name: measures.ratio(spread["median"], base) for name, spread in seconds.items()}


def report(result: dict[str, Any]) -> str:
    """The results as Markdown. Pure."""
    head = ["tool", "compute hosts", "runs", "median s", "least s", "most s", "s a host", "tool CPU s", "times pyinfra"]
    rows = []
    misses: list[str] = []
    for size in result["sizes"]:
        misses += size["misses"]
        for name, column in size["columns"].items():
            seconds = column["seconds"]
            rows.append(
                [
                    name,
                    str(size["compute_hosts"]),
                    str(seconds["runs"]),
                    markdown.shown(seconds["median"], 2),
                    markdown.shown(seconds["least"], 2),
                    markdown.shown(seconds["most"], 2),
                    markdown.shown(column["seconds_per_host"], 2),
                    markdown.shown(column["processor_seconds"]["median"], 2),
                    markdown.shown(size["ratios"][name], 2),
                ]
            )
    return "\n".join(
        [
            "# A run that has nothing to do\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            markdown.table(head, rows),
            "",
            "Hosts and operator share this machine. Rules, and what was not compared: benchmarks/README.md.\n",
            markdown.listed_misses(misses),
        ]
    )


def versions(playbook: str) -> dict[str, str]:
    """Versions of what runs on the operator's side."""
    from importlib.metadata import version

    tool = {"python": machine.describe()["python"], "pyinfra": version("pyinfra")}
    if not playbook:
        return tool
    said = subprocess.run([playbook, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    core = re.search(r"core ([0-9][^\]\s]*)", said)
    python = re.search(r"python version = (\S+)", said)
    return {
        **tool,
        "ansible-core": core[1] if core else "unknown",
        "python of ansible-core": python[1] if python else "unknown",
    }


def lab_versions(state: lab.LabState) -> dict[str, str]:
    """Versions of what runs on the hosts, asked of the control host."""
    command = ssh_command(
        state.hosts[0], lab.LabPaths(), "cat /etc/debian_version; python3 --version", connect_seconds=10
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [*done.stdout.split("\n"), "", ""]
    return {"Debian on the hosts": lines[0], "python on the hosts": lines[1].removeprefix("Python ")}


def smoke() -> int:
    """A run of pyinfra on this machine, of a command that changes nothing, is judged; kept results are reported."""
    once = tools.run(tools.pyinfra_column("@local", ("exec", "--", "true")))
    show("run", f"pyinfra: {once.seconds:.2f} s {once.verdict.complaint(['@local'])}")
    # To pyinfra every command is a change.
    wrong = bool(once.verdict.failed) or len(once.verdict.changed) != 1
    return max(int(wrong), report_kept("noop_rerun", report))


if __name__ == "__main__":
    sys.exit(main())
