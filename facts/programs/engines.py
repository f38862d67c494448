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
