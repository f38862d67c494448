"""Which faults are there together when their controller is killed, on which node, and what of each has to be felt.

Two compute nodes of a lab bear them, so that pairs are among them. A round measures the way to the control node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploys import shell
from deploys.faults import stand_in
from deploys.faults.commands import Command
from experiments.lab_cluster import LabCluster
from experiments.schedule import plan
from experiments.schedule.dead_man import Case, Round

VICTIM = "victim-of-faults"
_CARD = stand_in.Card("Stand-in", 24 << 30, 350_000, 2100, power_milliwatts=200_000)
_UNIT, _CLOCK_UNIT = "cluster-victim-of-faults", "cluster-clock-of-faults"


def rounds(nodes: Sequence[str]) -> tuple[tuple[Case, ...], ...]:
    """The rounds for the first two of these nodes: every fault that a host undoes itself, alone and beside others."""
    first, second = nodes[0], nodes[1]
    return (
        (
            Case("network-delay", first, {"delay_milliseconds": 40.0}, measured=True),
            Case("network-loss", second, {"percent": 10.0}, measured=True),
        ),
        (
            Case("network-rate", first, {"megabits_per_second": 20.0}, measured=True),
            Case("network-partition", second, {}, measured=True),
        ),
        (
            Case("network-jitter", first, {"delay_milliseconds": 30.0, "jitter_milliseconds": 20.0}, measured=True),
            Case("network-loss", first, {"percent": 5.0}),
            Case("cpu-pressure", second, {"load_percent": 50.0}),
            Case("memory-pressure", second, {"bytes": 64 << 20}),
            Case("disk-pressure", second, {"bytes": 16 << 20}),
            Case("process-freeze", second, {"process": VICTIM}),
            Case("clock-offset", second, {"offset_seconds": 3600.0, "service": _CLOCK_UNIT}),
            Case("gpu-power-cap", second, {"watts": 150.0}),
            Case("gpu-clock-limit", second, {"megahertz": 600}),
            Case("gpu-lost", second, {"device": 1}),
            Case("gpu-xid", second, {"xid": 79}),
            Case("gpu-ecc", second, {"errors": 2}),
        ),
        (Case("host-hang", first, {}),),
    )


def checked(cases: Sequence[Case]) -> str:
    """A round for a person; FaultPlanError where it could not be planned so."""
    return ", ".join(f"{one.name} on {one.target.nodes[0]}" for one in plan.from_values([c.planned() for c in cases]))


def unfelt(cases: Sequence[Case], done: Round) -> list[str]:
    """What should have been felt on the way to the control node while a fault was there, and was not. Pure."""
    said = []
    for case in cases:
        before, during, after = (way.get(case.node) or {} for way in (done.before, done.during, done.after))
        if not case.measured or not before:
            continue
        if not _felt(case, before, during):
            said.append(f"{case.name} on {case.node}: not felt: {dict(during)}")
        if after.get("lost_percent") != 0 or (after["round_trip_milliseconds"] or 0) > 5:
            said.append(f"{case.name} on {case.node}: still felt after it was healed: {dict(after)}")
    return said


def _felt(case: Case, before: Mapping[str, Any], during: Mapping[str, Any]) -> bool:
    """Whether the way was as the fault makes it; a partition lets nothing through."""
    trip, lost = during.get("round_trip_milliseconds") or 0.0, during.get("lost_percent") or 0.0
    rate, asked = during.get("megabits_per_second"), case.parameters
    if case.name == "network-delay":
        return bool(abs(trip - (before["round_trip_milliseconds"] or 0.0) - asked["delay_milliseconds"]) < 10)
    if case.name == "network-jitter":
        return bool((during.get("spread_milliseconds") or 0.0) > 5)
    if case.name == "network-loss":
        return bool(0 < lost < 3 * asked["percent"])
    if case.name == "network-rate":
        return rate is not None and bool(rate < 1.2 * asked["megabits_per_second"])
    return bool(lost == 100) and rate is None


async def prepare(cluster: LabCluster) -> None:
    """On the second node: a process that can be frozen, a service that can see another time, a stand-in of a GPU."""
    second = sorted(cluster.declared)[1]
    with tempfile.TemporaryDirectory() as place:
        library = stand_in.build(Path(place, "libnvidia-ml.so.1")).read_bytes()
    await cluster.host(second, stand_in.place(library, [_CARD, _CARD]))
    started = [f"systemctl stop {_UNIT} {_CLOCK_UNIT} 2>/dev/null"]
    for unit, words in (
        # A process with the title by which a fault finds it, and the node's name.
        (_UNIT, ("/bin/bash", "-c", f"exec -a {VICTIM} sleep 3600")),
        (_CLOCK_UNIT, ("/bin/sleep", "3600")),
    ):
        run = ("--quiet", f"--unit={unit}", f"--setenv=CLUSTER_NODE_NAME={second}")
        started.append(shell.line("systemd-run", *run, *words))
    await cluster.host(second, Command("; ".join(started)))


async def clean(cluster: LabCluster) -> None:
    """Take away what `prepare` brought."""
    second = sorted(cluster.declared)[1]
    await cluster.host(second, Command(f"systemctl stop {_UNIT} {_CLOCK_UNIT} 2>/dev/null; {stand_in.remove().line}"))
