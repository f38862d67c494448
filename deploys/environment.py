"""The environment of Ray's daemons, which every engine process inherits: from the raylet, not from a driver.

Pure. One address plan: Ray's node address, vLLM's host address and the interface of NCCL and Gloo name one network.
"""

from __future__ import annotations

from deploys import hosts
from deploys.library import search_path
from deploys.settings import Settings


def token_path(settings: Settings) -> str:
    """Where a node keeps the token that Ray's daemons ask of each other and of every client."""
    return f"{settings.directories.configuration}/ray-token"


def api_key_path(settings: Settings) -> str:
    """Where a node keeps the key that the API asks for."""
    return f"{settings.directories.configuration}/api-key"


def proof_record_path(settings: Settings) -> str:
    """Where the engines of a node write down how they proved themselves, a JSON object a line."""
    return f"{settings.directories.ray}/{settings.node}.proofs.jsonl"


def ray_client(settings: Settings) -> dict[str, str]:
    """What any process needs to talk to this cluster's Ray."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path(settings),
        "RAY_USAGE_STATS_ENABLED": "0",
        **search_path(settings),
    }


def ray_node(settings: Settings) -> dict[str, str]:
    """What a Ray node's daemons run with, and so every engine on it."""
    variables = {
        **ray_client(settings),
        "CLUSTER_NAME": settings.cluster,
        "CLUSTER_NODE_NAME": settings.node,
        "VLLM_HOST_IP": settings.network.address,
        "HF_HUB_OFFLINE": "1",  # weights are on the node before an engine starts
        "VLLM_NO_USAGE_STATS": "1",
        # Workers are made when asked for: a node of four slots would hold four idle Pythons of 70 MB.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Idle workers end after a second: the task that looks for an engine's files leaves one of 430 MB.
        "RAY_num_workers_soft_limit": "0",
        # glibc keeps what was freed: one arena for each thread, and large blocks for reuse. Loading weights frees much.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**2),
        "MALLOC_TRIM_THRESHOLD_": str(16 * 1024**2),
        **settings.accelerators.environment,
        **hosts.of(settings).network_environment(),
    }
    if settings.runs_engine:
        ports = settings.ray.ports
        # vLLM compiles a sampler even for an eager engine: on a host without a compiler the first request with log
        # probabilities ended it.
        eager = settings.mine is not None and settings.mine.serving.enforce_eager
        variables["TORCH_COMPILE_DISABLE"] = "1" if eager else "0"
        variables["CLUSTER_ENGINE_PORTS"] = f"{ports.engine_first}-{ports.engine_last}"
        variables["CLUSTER_PROOF_RECORD"] = proof_record_path(settings)
        if settings.gateway.log_prompts:
            variables["CLUSTER_PROMPT_LOG"] = f"{settings.directories.ray}/{settings.node}.prompts.jsonl"
    return variables
