"""The environment of Ray's daemons, which every engine process inherits: from the raylet, not from a driver.

Pure. One address plan: Ray's node address, vLLM's host address and the interface of NCCL and Gloo name one network.
"""

from __future__ import annotations

from deploys import hosts
from deploys.library import search_path
from deploys.observability import choice as observability
from deploys.services.description import LOG_BYTES
from deploys.settings import Settings

# Nodes wait so long for a head that is away, and their engines serve on; Ray's own minute is less than a boot takes.
HEAD_AWAY_SECONDS = 24 * 3600


def token_path(settings: Settings) -> str:
    """Where a node keeps the token that Ray's daemons ask of each other and of every client."""
    return f"{settings.directories.configuration}/ray-token"


def api_key_path(settings: Settings) -> str:
    """Where a node keeps the key that the API asks for."""
    return f"{settings.directories.configuration}/api-key"


def proof_record_path(settings: Settings) -> str:
    """Where the engines of a node write down how they proved themselves, a JSON object a line."""
    return f"{settings.directories.ray}/{settings.node}.proofs.jsonl"


def engine_socket(settings: Settings) -> str:
    """Where a node's process is asked that has vLLM loaded before an engine is."""
    return f"{settings.directories.ray}/{settings.node}.engine.sock"


def ray_client(settings: Settings) -> dict[str, str]:
    """What any process needs to talk to this cluster's Ray."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path(settings),
        "RAY_USAGE_STATS_ENABLED": "0",
        **search_path(settings),
    }


def _quiet() -> dict[str, str]:
    """What keeps a node from work and from logs while nobody asks anything.

    Ray looks, reports and counts several times a second, for schedulers of thousands of tasks; a node here has one
    engine, which proves itself. What these cost and what is left of it: benchmarks/idle.py.
    """
    return {
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # 0.1: a twentieth of a processor
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",  # 100, in each replica
        "RAY_kill_idle_workers_interval_ms": "1000",  # 200
        "RAY_raylet_report_resources_period_milliseconds": "500",  # 100
        "RAY_memory_monitor_refresh_ms": "1000",  # 250
        "RAY_enable_metrics_collection": "0",  # of each process, to ports that answer everyone
        "RAY_task_events_report_interval_ms": "0",  # a record of every call, Serve's looks at its replicas too
        "RAY_event_stats": "0",  # counts of its own steps, printed every minute: 8 MB an hour
        "RAY_debug_dump_period_milliseconds": "0",
        "RAY_DASHBOARD_AGENT_LOOP_MONITOR_INTERVAL_S": "5",  # 0.25
        "REPORTER_UPDATE_INTERVAL_MS": "10000",  # 5000: a look at every process of the host
        # A node has about thirty such files; by itself Ray would keep six of 512 MiB of each.
        "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": "1",
    }


def ray_node(settings: Settings) -> dict[str, str]:
    """What a Ray node's daemons run with, and so every engine on it."""
    on_disk = settings.ray.control_store == "disk"
    variables = {
        **ray_client(settings),
        "CLUSTER_NAME": settings.cluster,
        "CLUSTER_NODE_NAME": settings.node,
        "VLLM_HOST_IP": settings.network.address,
        "HF_HUB_OFFLINE": "1",  # weights are on the node before an engine starts
        "VLLM_NO_USAGE_STATS": "1",
        # Ray's metrics would be served on every address and to everybody; the engines' state is told by themselves.
        "RAY_enable_metrics_collection": "0",
        # Workers are made when asked for: a node of four slots would hold four idle Pythons of 70 MB.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Idle workers end after a second: the task that looks for an engine's files leaves one of 430 MB.
        "RAY_num_workers_soft_limit": "0",
        **_quiet(),
        # Whatever Ray, vLLM and torch put into a directory for passing files, sockets too, goes with the node's own.
        "TMPDIR": settings.directories.ray,
        "RAY_TMPDIR": settings.directories.ray,
        **({"RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_AWAY_SECONDS)} if on_disk else {}),
        # An engine's processes end with the replica that started them, however that ended.
        "RAY_process_group_cleanup_enabled": "1",
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
        variables |= observability.engine_environment(settings)
        variables["CLUSTER_ENGINE_PORTS"] = f"{ports.engine_first}-{ports.engine_last}"
        variables["CLUSTER_PROOF_RECORD"] = proof_record_path(settings)
        if settings.mine and settings.mine.loads_vllm:
            variables["CLUSTER_ENGINE_SOCKET"] = engine_socket(settings)
            variables["CLUSTER_ENGINE_MODEL"] = settings.mine.model.directory
        if settings.gateway.log_prompts:
            variables["CLUSTER_PROMPT_LOG"] = f"{settings.directories.ray}/{settings.node}.prompts.jsonl"
    return variables
