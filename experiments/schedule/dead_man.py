"""That hosts heal though their controller dies: it is killed in the middle of every fault, and the hosts are read back.

The controller is a real one, in a process of its own, and is killed with -9 when its journal says that every fault of
the round took effect. What a fault does to the network is measured before, while it is there, and after. Unix seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploys import shell
from deploys.faults.catalogue import kind_of
from deploys.faults.commands import Command
from experiments.errors import ExperimentError
from experiments.lab_cluster import LabCluster
from experiments.load.client import clock
from experiments.schedule import chaos
from experiments.schedule.windows import FaultWindow, from_journal
from facts import sources

PROBE = "experiments.telemetry.programs.path_probe"
PROBE_PORT = 17_717
# A controller that lived would heal long after the timers: what heals is they.
HOLD_SECONDS, HANG_SECONDS = 300.0, 6.0
_BEGIN_LIMIT_SECONDS = 90.0
_HEAL_LIMIT_SECONDS = 90.0
_PROBE_FILE = "/run/cluster-path-probe.py"


@dataclass(frozen=True)
class Case:
    """A fault on a node. `measured`: the way from the node to the control node is measured."""

    name: str
    node: str
    parameters: Mapping[str, Any]
    measured: bool = False

    def planned(self) -> dict[str, Any]:
        """As an entry of a plan."""
        return {
            "fault": self.name,
            "target": self.node,
            "hold_seconds": HANG_SECONDS if kind_of(self.name).heals_itself else HOLD_SECONDS,
            "parameters": dict(self.parameters),
        }


def timer_seconds(cases: Sequence[Case]) -> float:
    """What the hosts' timers are set to: all faults have to be there, and measured, before the first goes off."""
    return 9.0 + 0.7 * len(cases)


@dataclass(frozen=True)
class Round:
    """What became of faults that were there at one time. `left`: what was still there, by node."""

    windows: list[FaultWindow]
    killed: float
    before: dict[str, Any]
    during: dict[str, Any]
    after: dict[str, Any]
    left: dict[str, list[str]]

    @property
    def misses(self) -> list[str]:
        """What did not hold, a line each."""
        said = [f"{node}: {part}" for node, parts in self.left.items() for part in parts]
        for window in self.windows:
            where = f"{window.name} on {', '.join(window.nodes)}"
            if window.took_effect is None:
                said.append(f"{where}: took no effect: {window.detail}")
            elif window.healed is None:
                said.append(f"{where}: not healed: {window.detail}")
            elif window.healed_by != "timer":
                said.append(f"{where}: healed by {window.healed_by or 'nobody'}, and the controller was dead")
            elif window.healed < self.killed:
                said.append(f"{where}: healed before the controller was killed")
        return said


async def serve_probe(cluster: LabCluster, seconds: float) -> None:
    """Have the control node answer probes for so long."""
    control = cluster.control.node
    run = shell.line(
        *(
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=cluster-path-probe",
            f"--property=RuntimeMaxSec={seconds:.0f}",
        ),
        *("/usr/bin/python3", _PROBE_FILE, "serve", str(PROBE_PORT), f"{seconds:.0f}"),
    )
    await cluster.host(
        control, Command(f"systemctl stop cluster-path-probe 2>/dev/null; {_placed()} && {run}", _text())
    )


async def end_probe(cluster: LabCluster) -> None:
    """Have it answer no more."""
    line = f"systemctl stop cluster-path-probe 2>/dev/null; {shell.line('rm', '-f', _PROBE_FILE)}"
    await cluster.host(cluster.control.node, Command(line))


async def measure(cluster: LabCluster, node: str) -> dict[str, Any]:
    """The way from a node to the control node: round trip, spread, losses, rate."""
    address = cluster.control.network.address
    said = await cluster.host(
        node, Command(shell.line("python3", "-", "measure", address, str(PROBE_PORT)), _text()), seconds=30
    )
    found: dict[str, Any] = json.loads(said)
    return found


async def prove(cluster: LabCluster, name: str, cases: Sequence[Case]) -> Round:
    """Do these faults at one time, kill the controller in the middle, and wait until the hosts' timers have gone off.

    `name` is the cluster's. ExperimentError when the faults do not begin.
    """
    nodes = sorted({case.node for case in cases})
    measured = sorted({case.node for case in cases if case.measured})
    before = await _all(cluster, measured)
    lines = await _begun_and_killed(cluster, name, cases, measured)
    windows = await _read_back(cluster, from_journal(lines.journal), lines.killed)
    return Round(
        windows, lines.killed, before, lines.during, await _all(cluster, measured), await chaos.left(cluster, nodes)
    )


@dataclass
class _Lines:
    journal: list[dict[str, Any]]
    during: dict[str, Any]
    killed: float = 0.0


async def _begun_and_killed(cluster: LabCluster, name: str, cases: Sequence[Case], measured: Sequence[str]) -> _Lines:
    plan = json.dumps([case.planned() for case in cases])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "experiments.schedule.held", name, plan, str(timer_seconds(cases) - HOLD_SECONDS)),
        cwd=sources.REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    found = _Lines([], {})
    assert process.stdout and process.stderr  # noqa: S101 (both are pipes)
    try:
        async with asyncio.timeout(_BEGIN_LIMIT_SECONDS):
            begun = 0
            while begun < len(cases):
                text = await process.stdout.readline()
                if not text:
                    said = (await process.stderr.read()).decode(errors="replace").strip()[-300:]
                    raise ExperimentError(f"the controller ended before its faults had begun: {said}")
                line = json.loads(text)
                found.journal.append(line)
                begun += line.get("event") in ("took effect", "failed")
        found.during = await _all(cluster, measured)
    except TimeoutError:
        raise ExperimentError(f"not all of {len(cases)} faults began within {_BEGIN_LIMIT_SECONDS:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        found.killed = clock()
        await process.wait()
    return found


async def _read_back(cluster: LabCluster, windows: Sequence[FaultWindow], since: float) -> list[FaultWindow]:
    """The windows when every host says that its faults are over, or after a minute."""
    found = list(windows)
    while clock() < since + _HEAL_LIMIT_SECONDS:
        with contextlib.suppress(ExperimentError):
            found = await chaos.read_back(cluster, windows)
            if all(window.is_over or window.took_effect is None for window in found):
                break
        await asyncio.sleep(0.5)
    return found


async def _all(cluster: LabCluster, nodes: Sequence[str]) -> dict[str, Any]:
    return dict(zip(nodes, await asyncio.gather(*(measure(cluster, node) for node in nodes)), strict=True))


def _placed() -> str:
    return f"cat > {_PROBE_FILE}"


def _text() -> str:
    return sources.text(PROBE)
