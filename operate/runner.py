"""The only place that starts pyinfra: deploys as its command, facts through operate.observer; both in children."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from operate import pyinfra_server
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, OperatorError

CONNECT_SECONDS = 8.0
FACT_SECONDS = 75.0

Listener = Callable[[str, str], None]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"[A-Za-z_.]*(Error|Exception|Interrupt|Exit)\b.*:")


@dataclass(frozen=True)
class FactRequest:
    """One fact of one host: `key` names it in the answer, `fact` is its dotted path.

    `alone`: it takes long, or the moment of its answer counts. All others of a host are asked in one command.
    """

    key: str
    fact: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


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
            host: [[entry.key, entry.fact, dict(entry.arguments), not entry.alone] for entry in entries]
            for host, entries in requests.items()
        },
        "connect_seconds": CONNECT_SECONDS,
        "fact_seconds": FACT_SECONDS,
    }
    output, said, _ = _work("observe", [], json.dumps(order))
    try:
        answers = json.loads(output)
    except ValueError:
        last = (said or ["no output"])[-1]
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
    arguments = ["-y", "--json", str(cluster.path), deploy_file]
    if limit:
        arguments += ["--limit", limit]
    for key, value in (data or {}).items():
        arguments += ["--data", f"{key}={value}"]
    log = _Log(listener)
    output, said, status = _work("pyinfra", arguments, "", log.read)
    try:
        results = json.loads(output)["results"]
    except (ValueError, KeyError):
        why = cluster.named(_why(log.errors) or _last(said))
        raise OperatorError(f"{cluster.name}: {why}", exit_code=DOES_NOT_HOLD) from None
    result = DeployResult(tuple(results["operations"]), tuple(results["failed_hosts"]), tuple(log.errors))
    if result.failed_hosts or any(operation["error"] for operation in result.operations) or status:
        why = cluster.named(_why(log.errors) or _last(said))
        raise OperatorError(f"{cluster.name}: {why}", exit_code=DOES_NOT_HOLD)
    return result


def _why(errors: list[str]) -> str:
    said = [line for line in errors if not line.startswith("--> pyinfra error")]
    said = [line for line in said if ': {"phase": ' not in line]  # a fetch's progress, up to where it failed
    return "; ".join(list(dict.fromkeys(said))[-3:]) or "; ".join(errors[-2:])


def _last(said: list[str]) -> str:
    """The exception that ended pyinfra, where it was none that pyinfra expects; its last words else."""
    lines = [line.strip() for line in said if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return f"pyinfra stopped: {(raised or lines)[-1]}" if lines else "pyinfra stopped without saying why"


def _work(
    kind: Literal["observe", "pyinfra"], arguments: list[str], order: str, hear: Callable[[str], None] | None = None
) -> tuple[str, list[str], int]:
    """Standard output, lines of standard error and exit status of a child; `hear` gets each line as it comes.

    Ctrl-C is handed on to the child, which has a process group of its own, before it is raised here.
    """
    try:
        work = pyinfra_server.start(kind, arguments, _environment())
    except OSError as error:
        raise OperatorError(f"pyinfra cannot be started: {error}; run the same command again") from None
    lines: list[str] = []

    def read() -> None:
        for raw in work.stderr:
            line = _COLOUR.sub("", raw).rstrip()
            lines.append(line)
            if hear:
                hear(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError), work.stdin:
            work.stdin.write(order)
        output = work.stdout.read()
        status = work.wait()
    except KeyboardInterrupt:
        work.signal(signal.SIGINT)
        if not work.ended(within=10):
            work.signal(signal.SIGTERM)
        raise
    reader.join(timeout=5)
    work.close()
    return output, lines, status


class _Log:
    """Tells pyinfra's log lines apart: operations, results of hosts, and what went wrong, which it keeps."""

    def __init__(self, listener: Listener) -> None:
        self.errors: list[str] = []
        self._listener = listener
        self._tracing: set[str] = set()

    def read(self, line: str) -> None:
        """One line of pyinfra's."""
        if line.startswith("--> Starting operation: "):
            self._listener("operation", line.removeprefix("--> Starting operation: ").strip())
        elif line.startswith("--> pyinfra error"):
            self.errors.append(line)
        elif found := re.match(r"\s+\[([^\]]+)\]\s+(.*)", line):
            host, text = found.groups()
            if text in ("Success", "No changes", "Skipped", "Connected") or text.startswith("Ready"):
                self._listener("host", f"{host} {text}")
            elif not self._is_frame(host, text):
                self.errors.append(f"{host}: {text}")
                self._listener("note", f"{host}: {text}")

    def _is_frame(self, host: str, text: str) -> bool:
        """Whether a host said this only to programmers: pyinfra's count of commands, and the way to an exception.

        The exception itself, which is a traceback's first line that is named like one, is what the operator reads.
        """
        if text.startswith("Traceback (most recent call last)"):
            self._tracing.add(host)
        elif host in self._tracing and _EXCEPTION.match(text):
            self._tracing.discard(host)
            return False
        return host in self._tracing or bool(re.match(r"Error: executed \d+ command", text))


def _environment() -> dict[str, str]:
    # Where hosts are processes of this machine, programs sent to them run with the tool's own Python: it is there, and
    # a version manager's `python3` takes a tenth of a second to find the real one.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
