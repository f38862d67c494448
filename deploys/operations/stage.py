"""A point where all hosts meet.

pyinfra orders operations host by host; between two hosts only an operation that both have is an order. Without one, a
compute node copies the runtime before the control node has built it.
"""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from deploys.stages import STAGES


@operation()
def meet(reached: str) -> Generator[StringCommand, None, None]:
    """No command; every operation after it waits until all hosts are here."""
    host.noop(reached)
    yield from ()


def reach(stage: str) -> None:
    """End one of STAGES: every host waits here for the others."""
    meet(name=STAGES[stage], reached=stage)
