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
            if port := getattr(node._ray_params, parameter):
                persist(node.get_session_dir_path(), node._node_id, name, port)
        return start(node, *arguments, **named)

    return started


def main() -> None:
    """Ray's command; ends as it does."""
    from ray import _raylet
    from ray._private import node, services
    from ray.scripts.scripts import main as ray

    seconds, *arguments = sys.argv[1:]
    names = {
        "metrics_agent_port": _raylet.METRICS_AGENT_PORT_NAME,
        "metrics_export_port": _raylet.METRICS_EXPORT_PORT_NAME,
        "dashboard_agent_listen_port": _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
        "runtime_env_agent_port": _raylet.RUNTIME_ENV_AGENT_PORT_NAME,
    }
    services.get_node = patient(services.get_node, float(seconds))
    node.Node.start_raylet = after_ports(node.Node.start_raylet, _raylet.persist_port, names)
    sys.argv = ["ray", *arguments]
    ray()


if __name__ == "__main__":
    main()
