"""What each kind of fault does to a node's signals. Data; the judging is in `ranking`.

`keys` are what the fault acts on: without one of them there is no such fault, whatever else is seen. `supports` are
what follows from it. `against` are what it does not do: each takes from the score. Signs: +1 rises, -1 falls. What a
bundle does not have is left out of the sum, so a machine without pressure figures is judged by the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "cpu", "memory", "disk", "gpu", "network-delay", "network-loss", "network-rate", "network-partition",
    "process-freeze", "process-kill", "host", "clock",
]  # fmt: skip

LAYERS: Mapping[Kind, str] = {
    "cpu": "compute",
    "memory": "memory",
    "disk": "disk",
    "gpu": "gpu",
    "network-delay": "network",
    "network-loss": "network",
    "network-rate": "network",
    "network-partition": "network",
    "process-freeze": "process",
    "process-kill": "process",
    "host": "host",
    "clock": "clock",
}
KINDS: tuple[Kind, ...] = tuple(LAYERS)

# What a signal's change counts for, by name and sign.
Weights = Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class Signature:
    """One kind of fault. `events` are happenings (`experiments.causes.events`) that are keys of it, with their weight.

    `refuted_by`: happenings that this kind of fault does not have; with one of them little of it is believed.
    """

    keys: Weights
    supports: Weights = field(default_factory=dict)
    against: Weights = field(default_factory=dict)
    events: Mapping[str, float] = field(default_factory=dict)
    refuted_by: frozenset[str] = frozenset()


SIGNATURES: Mapping[Kind, Signature] = {
    "cpu": Signature(
        keys={"cpu_busy": (+1, 2.0), "cpu_waiting": (+1, 2.0), "other_cpu": (+1, 2.0)},
        supports={"itl": (+1, 1.0), "ttft": (+1, 0.5), "engine_cpu": (-1, 0.3)},
        # A node that does more work is busy with it; memory and disk pressure burn a processor too.
        against={"tokens": (+1, 0.8), "memory_available": (-1, 0.7), "disk_busy": (+1, 0.6), "disk_bytes": (+1, 0.5)},
    ),
    "memory": Signature(
        keys={"memory_available": (-1, 3.0), "memory_waiting": (+1, 2.0)},
        supports={"major_faults": (+1, 0.7), "swapping": (+1, 0.7), "itl": (+1, 0.3)},
        events={"out of memory": 1.5},
    ),
    "disk": Signature(
        keys={"disk_busy": (+1, 2.0), "disk_waiting": (+1, 2.0), "disk_bytes": (+1, 1.5), "disk_free": (-1, 2.0)},
        against={"swapping": (+1, 0.7), "major_faults": (+1, 0.4)},
        events={"disk error": 1.5},
    ),
    "gpu": Signature(
        keys={
            "gpu_busy": (+1, 1.5),
            "gpu_memory": (+1, 2.0),
            "gpu_clock": (-1, 2.0),
            "gpu_errors": (+1, 3.0),
            "gpu_lost": (+1, 3.0),
            "gpu_power": (-1, 1.0),
        },
        supports={"itl": (+1, 1.0)},
        against={"tokens": (+1, 0.8)},
        events={"gpu error": 2.0},
    ),
    "network-delay": Signature(
        keys={"rtt_floor": (+1, 3.0)},
        supports={"rtt": (+1, 1.0), "ttft": (+1, 0.3)},
        against={"flows_silent": (+1, 0.8), "cpu_busy": (+1, 0.3)},
    ),
    "network-loss": Signature(
        keys={"retransmits": (+1, 3.0)},
        supports={"delivery": (-1, 0.5), "rtt": (+1, 0.3)},
        against={"rtt_floor": (+1, 0.4), "flows_silent": (+1, 0.8)},
    ),
    "network-rate": Signature(
        keys={"delivery": (-1, 3.0)},
        supports={"rtt": (+1, 0.7), "flow_bytes": (-1, 0.5)},
        # Delay and loss lower the delivery rate too, by way of the window; a cap leaves an idle round trip as it was.
        against={"rtt_floor": (+1, 0.7), "retransmits": (+1, 0.3), "flows_silent": (+1, 0.8)},
    ),
    "network-partition": Signature(
        keys={"flows_silent": (+1, 3.0)},
        supports={"retransmits": (+1, 0.5), "node_silent": (+1, 0.3)},
        events={"cut off, but alive": 1.0},
        refuted_by=frozenset({"stood still", "host began anew"}),
    ),
    "process-freeze": Signature(
        keys={"engine_silent": (+1, 3.0), "stopped": (+1, 3.0)},
        supports={"tokens": (-1, 0.7), "running": (+1, 0.3)},
        events={"stopped moving": 2.0},
        against={"node_silent": (+1, 0.9)},
    ),
    "process-kill": Signature(
        keys={"engine_processes": (-1, 2.5)},
        supports={"engine_silent": (+1, 1.0), "tokens": (-1, 0.5)},
        events={"killed": 3.0, "engine began anew": 2.5},
        against={"node_silent": (+1, 0.9)},
    ),
    "host": Signature(
        keys={"node_silent": (+1, 2.0)},
        supports={"flows_silent": (+1, 0.5), "engine_silent": (+1, 0.5), "alive": (-1, 0.3)},
        events={"host began anew": 3.0, "stood still": 3.0},
        refuted_by=frozenset({"cut off, but alive"}),
    ),
    "clock": Signature(keys={"clock_offset": (+1, 3.0)}, events={"clock jumped": 3.0}),
}

# A fault of the first kind, seen on a node, accounts for signs of the others there, then and for a while after.
ACCOUNTS_FOR: Mapping[Kind, frozenset[Kind]] = {
    "host": frozenset(kind for kind in KINDS if kind not in ("host", "clock")),
    "network-partition": frozenset(
        {"host", "process-freeze", "network-delay", "network-loss", "network-rate"}
    ),
    "process-kill": frozenset({"process-freeze", "cpu", "disk", "memory", "gpu", "network-rate"}),
    "process-freeze": frozenset({"cpu", "gpu", "network-rate", "network-loss"}),
    "memory": frozenset({"cpu", "disk"}),
    "disk": frozenset({"cpu"}),
    "cpu": frozenset({"network-rate"}),
    "gpu": frozenset({"network-rate", "cpu"}),
    "network-delay": frozenset({"network-rate", "network-loss"}),
    "network-loss": frozenset({"network-rate", "network-delay"}),
    "network-rate": frozenset({"network-delay"}),
    "clock": frozenset(),
}  # fmt: skip
