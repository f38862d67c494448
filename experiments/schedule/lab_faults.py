"""Faults of a lab's whole hosts with a dead man's timer on the machine that carries them. Unix seconds.

A host without power, or whose processes are all stopped, can keep no timer. So a process of this machine waits for the
deadline and mends the host; it has a session of its own and outlives whoever broke the host.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import lab
from deploys.faults.programs.host_tools import processes_with
from experiments.errors import ExperimentError
from facts.sources import REPOSITORY

# Fault -> what the lab does, and what undoes it.
KINDS: Mapping[str, tuple[str, str]] = {
    "network-cut": ("cut", "join"),
    "host-freeze": ("freeze", "thaw"),
    "host-power-loss": ("crash", "join"),
}
_MARK = "CLUSTER_LAB_FAULT_TIMER"


async def inject(name: str, node: str, seconds: float) -> None:
    """Arm the timer, then do it; returns when it took effect. ExperimentError for a node that the lab does not have."""
    disarm(name, node)
    _arm(name, node, seconds)
    try:
        await _do(KINDS[name][0], node)
    except ExperimentError:
        disarm(name, node)
        raise


async def heal(name: str, node: str) -> bool:
    """Undo it and read the host's state back; True when the timer had done so before."""
    by_timer = await is_running(node)
    if not by_timer:
        await _do(KINDS[name][1], node)
    disarm(name, node)
    if not await is_running(node):
        raise ExperimentError(f"{node} is {(await _states()).get(node)} after {name} was healed")
    return by_timer


async def is_running(node: str) -> bool:
    """Whether the machine shows the host whole: powered, thawed, cabled."""
    return (await _states()).get(node) == "running"


def is_armed(name: str, node: str) -> bool:
    """Whether a process waits for the deadline."""
    return bool(processes_with(f"{_MARK}={name}:{node}"))


def disarm(name: str, node: str) -> None:
    """End the process that waits."""
    for number in processes_with(f"{_MARK}={name}:{node}"):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _arm(name: str, node: str, seconds: float) -> None:
    # Tried again while another command of the lab holds its lock. The mark must not go on to a host that it boots.
    again = f'for i in 1 2 3 4 5; do env -u {_MARK} "$2" -m lab fault "$3" "$4" && exit 0; sleep 1; done; exit 1'
    line = f'sleep "$1"; {again}'
    subprocess.Popen(
        ["/bin/sh", "-c", line, "lab-fault-timer", f"{seconds:g}", sys.executable, KINDS[name][1], node],
        cwd=REPOSITORY,
        env={**os.environ, _MARK: f"{name}:{node}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _do(kind: str, node: str) -> None:
    try:
        await asyncio.to_thread(lab.fault, kind, node)
    except lab.LabError as error:
        raise ExperimentError(str(error)) from None


async def _states() -> Mapping[str, str]:
    return await asyncio.to_thread(lab.host_states)
