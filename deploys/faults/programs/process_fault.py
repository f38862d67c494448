"""process-kill and process-freeze: processes of a node by their title or program's name.

Standard library only. What is frozen is noted before it is, by number and start time: another process that got the
number is never continued.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from deploys.faults.programs import host_tools, signal_process
from deploys.faults.programs.host_tools import FaultError

NAMES = ("process-kill", "process-freeze")
Note = Callable[[dict[str, Any]], None]


def inject(_directory: str, order: dict[str, Any], note: Note, _program: str) -> dict[str, Any]:
    """Send the signal to every process that the name and the node fit."""
    parameters, node = order["parameters"], order["context"]["node"]
    found = matching(parameters["process"], node)
    if not found:
        raise FaultError(
            f"{order['name']}: {node} has no process whose title or program begins with {parameters['process']!r}"
        )
    made = {"means": "a signal", "processes": [[number, host_tools.process_state(number)[1]] for number in found]}
    note(made)
    what = signal.SIGSTOP if order["name"] == "process-freeze" else signal.SIGKILL
    for number in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, what)
    return made


def matching(name: str, node: str) -> list[int]:
    """Processes of the node whose title or program begins so, but for this one and those above it."""
    wanted, found, above = name.encode(), [], _ancestors()
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not entry.isdigit() or int(entry) in above:
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                line = stream.read()
            program = line.partition(bytes(1))[0].rpartition(b"/")[2]
            if (line.startswith(wanted) or program.startswith(wanted)) and signal_process.is_of(entry, node.encode()):
                found.append(int(entry))
    return sorted(found)


def heal(_directory: str, record: dict[str, Any]) -> None:
    """Continue what was frozen and lives; who was killed is the cluster's to bring back."""
    if record["name"] == "process-freeze":
        for number, started in _noted(record):
            if host_tools.process_state(number)[1] == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)


def traces(_directory: str, name: str, record: dict[str, Any] | None, context: dict[str, Any]) -> list[str]:
    """Processes of the node that are stopped now; of a kill, those of its processes that are still there."""
    if name == "process-kill":
        # Nothing of it stays to be taken back; that it took effect is that they are gone.
        return []
    noted = dict(_noted(record)) if record else {}
    node, found = context["node"].encode(), []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or host_tools.process_state(int(entry))[0] != "T":
            continue
        with contextlib.suppress(OSError):
            if int(entry) in noted or signal_process.is_of(entry, node):
                found.append(f"process {entry} is stopped")
    return found


def _noted(record: dict[str, Any]) -> list[tuple[int, int]]:
    return [(int(number), int(started)) for number, started in (record.get("made") or {}).get("processes", [])]


def _ancestors() -> set[int]:
    found, number = set(), os.getpid()
    while number > 0 and number not in found:
        found.add(number)
        number = _parent(number)
    return found


def _parent(number: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{number}/stat") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])
    return 0
