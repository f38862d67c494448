"""How Ray Serve names the engines, and which of them run. Pure; standard library only."""

from collections.abc import Mapping
from typing import Any

# Ray Serve LLM names a deployment after the class of its server; ours is in deploys/vllm/programs/cluster_engine.py.
SERVER = "ProvenLLMServer"


def deployment(application: str) -> str:
    """Name of the deployment of an application's engines, whatever the engine."""
    return f"{SERVER}:{application}"


def is_engine(name: str) -> bool:
    """Whether a deployment is one of engines."""
    return name.startswith(SERVER)


def running(application: Mapping[str, Any]) -> int:
    """How many engines of an application run, in the shape of Serve's REST interface: each has proven itself."""
    return sum(
        replica["state"] == "RUNNING"
        for name, about in application["deployments"].items()
        if is_engine(name)
        for replica in about["replicas"]
    )


def standing(application: Mapping[str, Any]) -> str:
    """The status of an application in the shape of Serve's REST interface, "" where it has none.

    Serve calls one DEPLOYING or UNHEALTHY until the last replica that it stops has ended. One that never got a place,
    such as what was to replace a node's that left, takes its whole grace for that, while all that are wanted serve:
    RUNNING here.
    """
    said = str(application.get("status") or "")
    deployments = application.get("deployments")
    if said not in ("DEPLOYING", "UNHEALTHY") or not isinstance(deployments, Mapping) or not deployments:
        return said
    states = [_states(one) for one in deployments.values()]
    ends = any("STOPPING" in one for one in states) and all(map(_only_ends, deployments.values(), states))
    return "RUNNING" if ends else said


def _states(deployment: Any) -> list[Any]:
    replicas = deployment.get("replicas") if isinstance(deployment, Mapping) else None
    rows = replicas if isinstance(replicas, list) else []
    return [row.get("state") if isinstance(row, Mapping) else None for row in rows]


# Of a deployment. It is UNHEALTHY for as long as a replacement that it had begun is being stopped.
_STANDS = ("HEALTHY", "UNHEALTHY", "DOWNSCALING")


def _only_ends(deployment: Any, states: list[Any]) -> bool:
    """Whether as many replicas run as are wanted, and all others are being stopped."""
    if not isinstance(deployment, Mapping) or deployment.get("status") not in _STANDS:
        return False
    return states.count("RUNNING") == deployment.get("target_num_replicas") and {*states} <= {"RUNNING", "STOPPING"}
