"""A controller of faults as a process of its own: `python -m experiments.schedule.held CLUSTER PLAN MARGIN`

It carries out a plan, JSON as experiments.schedule.plan reads it, and prints every line of the journal as it comes.
Whoever wants to know what becomes of the hosts when a controller dies, kills it. Exit 2: the plan is refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from deploys.faults.catalogue import FaultPlanError
from experiments.errors import ExperimentError
from experiments.lab_cluster import read_cluster
from experiments.schedule import chaos, plan


def main(words: list[str]) -> int:
    """Carry out the plan; the exit status."""
    cluster, text, margin = words

    def journal(line: Mapping[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    try:
        faults = plan.from_values(json.loads(text))
        asyncio.run(chaos.run(read_cluster(cluster, deployed=False), faults, journal, margin_seconds=float(margin)))
    except (FaultPlanError, ExperimentError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
