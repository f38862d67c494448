"""Ray's own command on a node that may be slow: patient_ray.py SECONDS ARGUMENTS...

Runs on the cluster's nodes inside the locked runtime. Two of Ray's waits are numbers that no option and no variable
changes. A raylet ends when its agents, Pythons that import for long, have not written their ports after 15 s; and
`ray start` ends when its raylet is not known to the head after 30 s. The service manager begins anew, and a slow board,
or one that reads its runtime for the first time, never joins. The ports are declared here, so they are written down
before the raylet asks, and the head is asked for `SECONDS`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from deploys.programs import private_names

PERIOD_SECONDS = 0.5


def patient(ask: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """`ask` that is asked again while it raises RuntimeError, which is Ray's word for a node that is not known yet."""

    def asked(*arguments: Any, **named: Any) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask(*arguments, **named)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PERIOD_SECONDS)

    return asked


def after_ports(start: Callable[..., Any], persist: Callable[..., Any], names: dict[str, str]) -> Callable[..., Any]:
    """`Node.start_raylet` after the declared ports were written: `names` are Ray's names by its parameters'."""

    def started(node: Any, *arguments: Any, **named: Any) -> Any:
        for parameter, name in names.items():
            if port := private_names.declared_port(node, parameter):
                persist(*private_names.place_of(node), name, port)
        return start(node, *arguments, **named)

    return started


def main() -> None:
    """Ray's command; ends as it does."""
    seconds, *arguments = sys.argv[1:]
    ray = private_names.change_start(lambda ask: patient(ask, float(seconds)), after_ports)
    sys.argv = ["ray", *arguments]
    ray()


if __name__ == "__main__":
    main()
