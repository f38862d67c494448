"""Every name of Ray and vLLM that is not theirs to promise and that we touch: here, and nowhere else.

Runs on the cluster's nodes inside the locked runtime. A new version may have none of these; `missing` says which, and a
test asks it of the locked runtime. Imports stand in the functions: whoever starts Ray has no use for vLLM's gigabyte.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Tried with these: vLLM 0.32 on processors, 0.29 on GPUs.
TRIED = {"ray": ("2.60.0",), "vllm": ("0.29.0", "0.32.0")}

# Module -> attributes, with a dot for what is in a class.
_NAMES = {
    "ray._raylet": (
        "METRICS_AGENT_PORT_NAME",
        "METRICS_EXPORT_PORT_NAME",
        "DASHBOARD_AGENT_LISTEN_PORT_NAME",
        "RUNTIME_ENV_AGENT_PORT_NAME",
        "persist_port",
    ),
    "ray._private.services": ("get_node",),
    "ray._private.node": (
        "Node.start_raylet",
        "Node.get_session_dir_path",
        "Node.get_logs_dir_path",
        "Node.kill_all_processes",
    ),
    "ray._private.ray_constants": ("PROCESS_TYPE_RAYLET",),
    "ray.scripts.scripts": ("main",),
    "ray.serve._private.common": ("RequestMetadata",),
    "ray.serve.llm.deployment": (
        "LLMServer.start",
        "LLMServer.check_health",
        "LLMServer._start_engine",
        "LLMServer._get_default_engine_class",
    ),
    "ray.serve.llm.openai_api_models": ("ChatCompletionRequest", "CompletionRequest"),
    "ray.llm._internal.serve.engines.vllm.vllm_engine": (
        "VLLMEngine._prepare_engine_config",
        "VLLMEngine.build_asgi_app",
        "_normalize_vllm_engine_kwargs",
    ),
    "vllm.engine.arg_utils": ("AsyncEngineArgs.create_engine_config",),
    "vllm.entrypoints.launchers.cli_args": ("FrontendArgs",),
    "vllm.usage.usage_lib": ("UsageContext.OPENAI_API_SERVER",),
    "vllm.v1.engine.async_llm": ("AsyncLLM.errored",),
    "vllm.v1.engine.output_processor": ("OutputProcessor.get_num_unfinished_requests",),
    "vllm.v1.metrics.loggers": ("StatLoggerManager.record",),
}


def missing() -> list[str]:
    """What the installed versions do not have of all that; empty when every name is there."""
    found = []
    for module, names in _NAMES.items():
        try:
            there = importlib.import_module(module)
        except ImportError as error:
            found.append(f"{module}: {error}")
            continue
        found += [f"{module} has no {name}" for name in names if not _has(there, name)]
    return found


def _has(thing: Any, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


# How their processes call themselves: Serve's replica, in which an engine's API is served, and vLLM's engine core.
REPLICA_PROCESS = "ray::ServeReplica"
ENGINE_PROCESS = "VLLM::EngineCore"


# Ray: how `ray start` waits.


def change_start(
    get_node: Callable[[Callable[..., Any]], Callable[..., Any]],
    start_raylet: Callable[[Callable[..., Any], Callable[..., Any], dict[str, str]], Callable[..., Any]],
) -> Callable[[], None]:
    """Put `get_node(Ray's own)` and `start_raylet(Ray's own, persist_port, names)` in place; returns Ray's command.

    `names` are the names under which a raylet looks for its agents' ports, by the parameters that declare them.
    """
    from ray import _raylet
    from ray._private import node, services
    from ray.scripts.scripts import main

    names = {
        "metrics_agent_port": _raylet.METRICS_AGENT_PORT_NAME,
        "metrics_export_port": _raylet.METRICS_EXPORT_PORT_NAME,
        "dashboard_agent_listen_port": _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
        "runtime_env_agent_port": _raylet.RUNTIME_ENV_AGENT_PORT_NAME,
    }
    services.get_node = get_node(services.get_node)
    node.Node.start_raylet = start_raylet(node.Node.start_raylet, _raylet.persist_port, names)
    command: Callable[[], None] = main
    return command


def declared_port(node: Any, parameter: str) -> int | None:
    """The port that a node of `ray start` was given for one of its agents."""
    port: int | None = getattr(node._ray_params, parameter)
    return port


def place_of(node: Any) -> tuple[str, str]:
    """Session directory and id of a node that `ray start` makes."""
    return node.get_session_dir_path(), node._node_id


def raylet_status(node: Any) -> int | None:
    """Exit status of the raylet that `ray start` has started; None while it runs or before it is started."""
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET

    started = node.all_processes.get(PROCESS_TYPE_RAYLET) or []
    status: int | None = started[0].process.poll() if started else None
    return status


def raylet_logs(node: Any) -> list[Path]:
    """Where the raylet of a node that `ray start` makes writes. Each start in one session has files of its own."""
    directory = Path(node.get_logs_dir_path())
    kinds = (
        sorted(directory.glob(f"raylet*.{kind}"), key=lambda path: path.stat().st_mtime) for kind in ("out", "err")
    )
    return [path for paths in kinds for path in paths[-1:]]


def kill_all(node: Any) -> None:
    """End whatever `ray start` has started for a node."""
    node.kill_all_processes(check_alive=False, allow_graceful=False)


# Ray Serve LLM and vLLM: the replica of an engine.


def server_base() -> type:
    """LLMServer of Ray Serve LLM with our engine, and without an actor for usage telemetry on the head (220 MB)."""
    from ray.serve.llm.deployment import LLMServer

    class Server(LLMServer):  # type: ignore[misc]
        """LLMServer, but for what it starts."""

        def _get_default_engine_class(self) -> Any:
            """Made here: whoever else imports this module has no use for vLLM."""
            return direct_engine()

        async def _start_engine(self) -> None:
            """Start the engine only: the parent also starts the telemetry."""
            await self.engine.start()

    return Server


def direct_engine() -> type:
    """Ray Serve LLM's vLLM, but for one rank on a GPU: that runs in the engine's own process.

    Ray Serve LLM runs the model of every engine on GPUs in a further actor of Ray, and refuses an engine argument that
    says otherwise. vLLM by itself, asked for one rank, runs it in the engine's process ("uni"): one Python with torch
    less to start, and no messages between processes on the way of a step. On CPUs vLLM itself wants the other process.
    """
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine, _normalize_vllm_engine_kwargs

    class DirectEngine(VLLMEngine):  # type: ignore[misc]
        """VLLMEngine, without another process for the model where one rank needs none."""

        def _prepare_engine_config(self, callback_ctx: Any) -> Any:
            """Engine arguments, frontend arguments and engine configuration.

            The parent asks a task that was given a GPU; a replica sees its node's as well, since Ray hides none from an
            actor that asked for none, and the node has no other engine.
            """
            config = self.llm_config.get_engine_config()
            if config.num_devices > 1 or not config.accelerator.requires_remote_initialization:
                return super()._prepare_engine_config(callback_ctx)
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.entrypoints.launchers.cli_args import FrontendArgs
            from vllm.usage.usage_lib import UsageContext

            given = _normalize_vllm_engine_kwargs(config.get_initialization_kwargs())
            arguments = AsyncEngineArgs(**{**given, "distributed_executor_backend": "uni"})
            frontend = FrontendArgs(**config.frontend_kwargs)
            return arguments, frontend, arguments.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)

    return DirectEngine


def call_replica(actor: str, method: str, arguments: tuple[object, ...], seconds: float) -> Any:
    """What a replica of Serve answers to a call of a method of its own, by the name of its actor."""
    import pickle
    import uuid

    import ray
    from ray.serve._private.common import RequestMetadata

    request = f"call-{uuid.uuid4()}"
    metadata = RequestMetadata(request_id=request, internal_request_id=request, call_method=method)
    handle = ray.get_actor(actor, namespace="serve")
    return ray.get(handle.handle_request.remote(pickle.dumps(metadata), *arguments), timeout=seconds)


def configuration(server: Any) -> Any:
    """The LLMConfig that a server was built from."""
    return server._llm_config


def unfinished_requests(server: Any) -> int:
    """Requests that the engine has not finished; 0 while there is none."""
    return int(_client(server).output_processor.get_num_unfinished_requests()) if server.engine else 0


def has_ended(server: Any) -> bool:
    """Whether the engine's own process is gone."""
    return bool(server.engine and _client(server).errored)


def follow_steps(server: Any, noted: Callable[[Any, Any], None]) -> None:
    """Have `noted(scheduler's, iteration's)` told of every step: they all pass through vLLM's stat loggers."""
    manager = _client(server).logger_manager
    record = manager.record

    def recorded(*arguments: Any, **named: Any) -> Any:
        scheduler = named.get("scheduler_stats") or (arguments[0] if arguments else None)
        iteration = named.get("iteration_stats") or (arguments[1] if len(arguments) > 1 else None)
        noted(scheduler, iteration)
        return record(*arguments, **named)

    manager.record = recorded


def _client(server: Any) -> Any:
    return server.engine._engine_client
