"""The only place that starts pyinfra: deploys as its CLI, facts through operate.observer; both as child processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operate.clusters import REPOSITORY, ClusterInventory
from operate.errors import DOES_NOT_HOLD, OperatorError

CONNECT_SECONDS = 8.0
FACT_SECONDS = 75.0

Listener = Callable[[str, str], None]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class FactRequest:
    """One fact of one host: `key` names it in the answer, `fact` is its dotted path."""

    key: str
    fact: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What one host said. `facts` has the values that could be read, `errors` why others could not."""

    connected: bool
    error: str
    facts: Mapping[str, Any]
    errors: Mapping[str, str]
    times: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class DeployResult:
    """pyinfra's own results: operation -> hosts changed, failed and unchanged."""

    operations: tuple[Mapping[str, Any], ...]
    failed_hosts: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def changed(self) -> int:
        """Number of operations that changed something, counted for each host."""
        return sum(len(operation["success"]) for operation in self.operations)


def observe(cluster: ClusterInventory, requests: Mapping[str, Iterable[FactRequest]]) -> dict[str, Observation]:
    """Facts of all hosts, read in parallel; a host that cannot be reached says so and does not hold up the others."""
    order = {
        "groups": {
            "control": [[cluster.control.target, dict(cluster.control.data)]],
            "compute": [[host.target, dict(host.data)] for host in cluster.compute],
        },
        "requests": {
            host: [[entry.key, entry.fact, dict(entry.arguments)] for entry in entries]
            for host, entries in requests.items()
        },
        "connect_seconds": CONNECT_SECONDS,
        "fact_seconds": FACT_SECONDS,
    }
    child = subprocess.run(
        [sys.executable, "-m", "operate.observer"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=_environment(),
        check=False,
    )
    try:
        answers = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise OperatorError(f"{cluster.name}: hosts could not be observed: {last}") from None
    return {
        name: Observation(
            connected=answer["connected"],
            error=answer["error"],
            facts={key: fact["value"] for key, fact in answer["facts"].items() if "value" in fact},
            errors={key: fact["error"] for key, fact in answer["facts"].items() if "error" in fact},
            times={key: (fact["asked"], fact["answered"]) for key, fact in answer["facts"].items() if "value" in fact},
        )
        for name, answer in answers.items()
    }


def deploy(
    cluster: ClusterInventory,
    deploy_file: str,
    listener: Listener,
    *,
    limit: str = "",
    data: Mapping[str, str] | None = None,
) -> DeployResult:
    """Run a deploy; `listener` hears (kind, text): operation, host and note, while it runs.

    OperatorError with exit 1 when a host failed, with the host and what it said. Ctrl-C reaches pyinfra, which stops;
    what was done stays, and the next run goes on from there.
    """
    command = [sys.executable, "-m", "pyinfra", "-y", "--json", str(cluster.path), deploy_file]
    if limit:
        command += ["--limit", limit]
    for key, value in (data or {}).items():
        command += ["--data", f"{key}={value}"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=_environment(),
        start_new_session=True,
    )
    errors: list[str] = []
    reader = threading.Thread(target=_listen, args=(process.stderr, listener, errors), daemon=True)
    reader.start()
    try:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        output = process.stdout.read()
        process.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise
    reader.join(timeout=5)
    try:
        results = json.loads(output)["results"]
    except (ValueError, KeyError):
        raise OperatorError(f"{cluster.name}: {_why(errors)}", exit_code=DOES_NOT_HOLD) from None
    result = DeployResult(tuple(results["operations"]), tuple(results["failed_hosts"]), tuple(errors))
    if result.failed_hosts or any(operation["error"] for operation in result.operations) or process.returncode:
        raise OperatorError(f"{cluster.name}: {_why(errors)}", exit_code=DOES_NOT_HOLD)
    return result


def _why(errors: list[str]) -> str:
    said = [line for line in errors if not line.startswith(("Error: executed", "--> pyinfra error"))]
    said = [line for line in said if ': {"phase": ' not in line]  # a fetch's progress, up to where it failed
    return "; ".join(list(dict.fromkeys(said))[-3:]) or "; ".join(errors[-2:]) or "pyinfra stopped without saying why"


def _listen(stream: Any, listener: Listener, errors: list[str]) -> None:
    """Tell pyinfra's log lines apart: operations, results of hosts, and what went wrong."""
    for raw in stream:
        line = _COLOUR.sub("", raw).rstrip()
        if line.startswith("--> Starting operation: "):
            listener("operation", line.removeprefix("--> Starting operation: ").strip())
        elif line.startswith("--> pyinfra error"):
            errors.append(line)
        elif found := re.match(r"\s+\[([^\]]+)\]\s+(.*)", line):
            host, text = found.groups()
            if text in ("Success", "No changes", "Skipped", "Connected") or text.startswith("Ready"):
                listener("host", f"{host} {text}")
            else:
                errors.append(f"{host}: {text}")
                listener("note", f"{host}: {text}")


def _environment() -> dict[str, str]:
    # Where hosts are processes of this machine, programs sent to them run with the tool's own Python: it is there, and
    # a version manager's `python3` takes a tenth of a second to find the real one.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


@contextlib.contextmanager
def exclusive(directory: Path, what: str) -> Iterator[None]:
    """One changing command at a time for a cluster on this machine; OperatorError names the process that has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise OperatorError(
            f"{directory}: {error.strerror}; state is kept there, set CLUSTER_HOME to another place"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            raise OperatorError(f"{what}: {owner} is at work on this cluster; wait for it to end") from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()} ({what})")
        lock.flush()
        try:
            yield
        finally:
            lock.seek(0)
            lock.truncate()
