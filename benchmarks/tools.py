"""The two tools as the benchmark runs them: command, environment, and what their JSON says about a run.

`judge_pyinfra` and `judge_ansible` are pure.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError
from experiments.machine import load_average
from facts.sources import REPOSITORY

RUN_SECONDS = 3600
ANSIBLE = REPOSITORY / "benchmarks" / "ansible"


@dataclass(frozen=True)
class Verdict:
    """What a run did. `changed` and `failed` are lines for a person; `hosts` are those that took part."""

    hosts: frozenset[str]
    changed: tuple[str, ...]
    failed: tuple[str, ...]

    def complaint(self, hosts: Sequence[str]) -> str:
        """Why this is no no-op on exactly `hosts`; empty when it is one."""
        if self.failed:
            return f"failed: {'; '.join(self.failed[:3])}"
        if self.changed:
            return f"changed: {'; '.join(self.changed[:5])}"
        if self.hosts != set(hosts):
            return f"took part: {', '.join(sorted(self.hosts)) or 'nobody'} instead of {len(hosts)} hosts"
        return ""


@dataclass(frozen=True)
class Column:
    """One way to bring the hosts to their state."""

    name: str
    command: tuple[str, ...]
    judge: Callable[[str], Verdict]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A finished run. `processor_seconds` is what the tool and its children used on the operator's side."""

    seconds: float
    processor_seconds: float
    load_before: float
    verdict: Verdict


def pyinfra_column(inventory: str = "inventories/lab.py", work: tuple[str, ...] = ("deploys/all.py",)) -> Column:
    """The deploys of this project, or other work of pyinfra's."""
    return Column("pyinfra", (program("pyinfra"), "-y", "--json", inventory, *work), judge_pyinfra)


def ansible_columns(playbook: str, export: Path, forks: int) -> list[Column]:
    """The playbook as usually run, with hosts that do not wait for each other, and with the file checks batched."""
    base = (playbook, "-i", str(export / "inventory.json"), str(ANSIBLE / "site.yml"))
    environment = {
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        "ANSIBLE_FORKS": str(forks),
        # Sockets of kept connections lie below it, and a socket's path is short.
        "ANSIBLE_HOME": str(export / "home"),
    }
    free = {**environment, "ANSIBLE_STRATEGY": "free"}
    batched = (*base, "-e", "checks_batched=true")
    return [
        Column("ansible, linear", base, judge_ansible, environment),
        Column("ansible, free", base, judge_ansible, free),
        Column("ansible, file checks batched", batched, judge_ansible, environment),
    ]


def program(name: str, given: str = "") -> str:
    """Path of a program: the given one, the one beside this Python, or the one on PATH; ExperimentError else."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(given) if given else str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise ExperimentError(f"{given or name}: not found; run `uv sync --group benchmark`, or give its path")
    return found


def run(column: Column) -> Run:
    """Run one column in the project's directory and judge what it printed; ExperimentError when that cannot be read."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    load = load_average()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    try:
        done = subprocess.run(
            column.command,
            cwd=REPOSITORY,
            env={**environment, **column.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExperimentError(f"{column.name}: no end after {RUN_SECONDS} s") from None
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    try:
        verdict = column.judge(done.stdout)
    except (ValueError, KeyError, TypeError) as error:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise ExperimentError(f"{column.name}: exit {done.returncode}, no usable JSON ({error}): {said}") from None
    if done.returncode and not verdict.failed:
        reason = f"exit {done.returncode}: {done.stderr.strip()[-300:]}"
        verdict = Verdict(verdict.hosts, verdict.changed, (reason,))
    return Run(round(seconds, 3), round(used, 3), load, verdict)


def last_object(text: str) -> dict[str, Any]:
    """The JSON object that a tool prints as its last line; ValueError when there is none."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError("nothing printed")
    value = json.loads(lines[-1])
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def judge_pyinfra(text: str) -> Verdict:
    """From `pyinfra -y --json`. KeyError or ValueError for another shape."""
    results = last_object(text)["results"]
    hosts: set[str] = set(results["failed_hosts"])
    changed: list[str] = []
    failed = [f"{host} failed" for host in results["failed_hosts"]]
    for operation in results["operations"]:
        hosts |= {*operation["success"], *operation["no_change"], *operation["error"]}
        name = operation["name"].rpartition(" | ")[2]
        changed += [f"{host}: {name}" for host in operation["success"]]
        failed += [f"{host}: {name}" for host in operation["error"]]
    return Verdict(frozenset(hosts), tuple(changed), tuple(failed))


def judge_ansible(text: str) -> Verdict:
    """From the playbook's summary (benchmarks/ansible/callback_plugins/summary.py). KeyError or ValueError else."""
    results = last_object(text)
    changed = [f"{row['host']}: {row['task']}" for row in results["changed"]]
    failed = [f"{row['host']}: {row['task']}: {row['message']}" for row in results["failed"]]
    return Verdict(frozenset(results["hosts"]), tuple(changed), tuple(failed))
