"""Every name of Ray and vLLM that is not theirs to promise and that we touch: here, and nowhere else.

Runs on the cluster's nodes inside the locked runtime. A new version may have none of these; `missing` says which, and a
test asks it of the locked runtime. Imports stand in the functions: whoever starts Ray has no use for vLLM's gigabyte.
"""

import argparse
import contextlib
import dataclasses
import importlib
import inspect
import json
import os
import types
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
    "ray._private.services": ("get_node", "find_gcs_addresses"),
    "ray._private.state": ("actors",),
    "ray._private.node": (
        "Node.start_raylet",
        "Node.start_ray_client_server",
        "Node.get_session_dir_path",
        "Node.get_logs_dir_path",
        "Node.kill_all_processes",
    ),
    "ray._private.ray_constants": ("PROCESS_TYPE_RAYLET",),
    "ray.dashboard.modules.metrics.grafana_dashboard_factory": (
        "generate_default_grafana_dashboard",
        "generate_serve_grafana_dashboard",
        "generate_serve_deployment_grafana_dashboard",
    ),
    "ray.scripts.scripts": ("main",),
    "ray.serve._private.common": ("RequestMetadata",),
    "ray.serve._private.replica": ("add_port_to_grpc_server",),
    "ray.serve.llm.deployment": ("LLMServer.start", "LLMServer.check_health", "LLMServer._start_engine"),
    "ray.serve.llm.openai_api_models": ("ChatCompletionRequest", "CompletionRequest"),
    "ray.llm._internal.serve.engines.vllm.vllm_engine": ("VLLMEngine.build_asgi_app", "_normalize_vllm_engine_kwargs"),
    "vllm": ("ModelRegistry.register_model", "ModelRegistry.models"),
    "vllm.engine.arg_utils": ("AsyncEngineArgs.create_engine_config",),
    "vllm.entrypoints.launchers.cli_args": ("FrontendArgs",),
    "vllm.entrypoints.openai.api_server": ("build_app", "init_app_state"),
    "vllm.usage.usage_lib": ("UsageContext.OPENAI_API_SERVER",),
    "vllm.v1.engine.async_llm": ("AsyncLLM.errored", "AsyncLLM.from_vllm_config", "AsyncLLM.get_supported_tasks"),
    "vllm.v1.engine.core": (),
    "vllm.v1.engine.output_processor": ("OutputProcessor.get_num_unfinished_requests",),
    "vllm.v1.executor.ray_utils": ("build_actor_name",),
    "vllm.v1.executor.uniproc_executor": ("UniProcExecutor",),
    "vllm.v1.metrics.loggers": ("StatLoggerManager.record",),
    "vllm.v1.worker.gpu_worker": (),
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


# How their processes call themselves: Serve's replica, in which an engine's API is served, vLLM's engine core and the
# worker that computes for it, and Ray's daemons.
REPLICA_PROCESS = "ray::ServeReplica"
ENGINE_PROCESS = "VLLM::EngineCore"
WORKER_PROCESS = "VLLM::Worker"
RAYLET_PROCESS = "raylet"
GCS_PROCESS = "gcs_server"


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
    # Ray takes a raylet on this machine that waits for its head for the head itself, and refuses to start one.
    services.find_gcs_addresses = set
    node.Node.start_raylet = start_raylet(node.Node.start_raylet, _raylet.persist_port, names)
    # A Python of its own for drivers outside the cluster, of which there are none; no option leaves it out.
    node.Node.start_ray_client_server = lambda _node: None
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
    """LLMServer of Ray Serve LLM, without an actor for usage telemetry on the head (220 MB)."""
    from ray.serve.llm.deployment import LLMServer

    class Server(LLMServer):  # type: ignore[misc]
        """LLMServer, but for what it starts."""

        async def _start_engine(self) -> None:
            """Start the engine only: the parent also starts the telemetry."""
            await self.engine.start()

    return Server


def client_of(server: Any) -> Any:
    """vLLM's client of the engine that a server of Ray Serve LLM has; None before it has one."""
    return server.engine._engine_client if server.engine else None


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


def close_replica() -> None:
    """In a replica of Serve, before it is initialised: it listens nowhere for calls from other deployments.

    It would on a port of the system's choice, on every address, for pickles of whoever comes, and asks for no token.
    Nothing here calls it that way (RAY_SERVE_USE_GRPC_BY_DEFAULT is off).
    """
    from ray.serve._private import replica

    replica.add_port_to_grpc_server = lambda server, address: 0


def configuration(server: Any) -> Any:
    """The LLMConfig that a server was built from."""
    return server._llm_config


# vLLM: an engine of one rank, without Ray.

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


def load_engine(directory: str) -> None:
    """Import all that the processes of an engine need, the model's own code too where its `directory` is known."""
    import torch
    import vllm.entrypoints.openai.api_server
    import vllm.v1.engine.async_llm
    import vllm.v1.engine.core
    import vllm.v1.executor.uniproc_executor
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        import vllm.v1.worker.cpu_worker
    else:
        import vllm.v1.worker.gpu_worker  # noqa: F401
    with contextlib.suppress(OSError, ValueError):
        for name in json.loads(Path(directory, "config.json").read_text()).get("architectures") or ():
            _load_model(str(name))
    if torch.cuda.is_initialized():
        os.environ[_METHOD] = "spawn"  # a fork could not use what was begun here


def _load_model(architecture: str) -> None:
    """Have vLLM know the model's class: it would ask another process, which loads everything, what that can do."""
    from vllm import ModelRegistry

    known = ModelRegistry.models.get(architecture)
    if known is not None:
        ModelRegistry.register_model(architecture, known.load_model_cls())


async def start_engine(arguments: dict[str, Any], served_name: str) -> tuple[Any, Any]:
    """An engine of one rank: vLLM's client of it, and the OpenAI application in front.

    `arguments` are the engine's and its API's, as vLLM names them. ValueError names one that vLLM does not know. The
    engine core is a fork of this process, so nothing should have touched the accelerator here, and has the model in
    itself: no further process, and no messages between processes on the way of a step.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.entrypoints.openai.api_server import build_app, init_app_state
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    ours = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    theirs = {field.name for field in dataclasses.fields(FrontendArgs)}
    if unknown := sorted(arguments.keys() - ours - theirs):
        raise ValueError(f"vLLM has no engine argument {', '.join(unknown)}; see `engine` in the inventory")
    frontend = FrontendArgs(**{name: value for name, value in arguments.items() if name in theirs})
    given = {name: value for name, value in arguments.items() if name not in theirs}
    if any(isinstance(value, dict) for value in given.values()):
        from ray.llm._internal.serve.engines.vllm.vllm_engine import _normalize_vllm_engine_kwargs

        given = _normalize_vllm_engine_kwargs(given)
    # Where vLLM is to bind an engine's threads to processors, it has to start the model in yet another process.
    binds = current_platform.is_cpu() and os.environ.get("VLLM_CPU_OMP_THREADS_BIND") != "nobind"
    backend: Any = "mp" if binds else UniProcExecutor
    engine = AsyncEngineArgs(
        **{**given, "distributed_executor_backend": backend, "served_model_name": [served_name]},
        enable_log_requests=False,
    )
    method = "spawn" if binds else os.environ.get(_METHOD, "fork")
    usage = UsageContext.OPENAI_API_SERVER
    configuration = engine.create_engine_config(usage_context=usage)
    os.environ[_METHOD] = method  # after the configuration, which says "spawn" on processors
    client = AsyncLLM.from_vllm_config(
        vllm_config=configuration,
        usage_context=usage,
        enable_log_requests=False,
        disable_log_stats=engine.disable_log_stats,
    )
    tasks = await client.get_supported_tasks()
    parsed = argparse.Namespace(**(vars(frontend) | vars(engine)))
    application = build_app(parsed, supported_tasks=tasks, model_config=client.model_config)
    more = {"supported_tasks": tasks, "vllm_config": configuration}
    known = inspect.signature(init_app_state).parameters
    await init_app_state(
        client, application.state, parsed, **{name: value for name, value in more.items() if name in known}
    )
    # vLLM's handler of an engine's error tells its own HTTP server to end, and needs one to tell.
    application.state.server = types.SimpleNamespace()
    return client, application


def unfinished_requests(client: Any) -> int:
    """Requests that the engine has not finished; 0 while there is none."""
    return int(client.output_processor.get_num_unfinished_requests()) if client else 0


def has_ended(client: Any) -> bool:
    """Whether the engine's own process is gone."""
    return bool(client and client.errored)


def rank_actors(client: Any) -> list[str]:
    """Names of the Ray actors in which the ranks of an engine run, by rank; none where Ray has none of it."""
    from vllm.v1.executor.ray_utils import build_actor_name

    cut = client.vllm_config.parallel_config
    if cut.world_size < 2 or cut.distributed_executor_backend != "ray":
        return []
    sizes = (cut.tensor_parallel_size, cut.pipeline_parallel_size, getattr(cut, "prefill_context_parallel_size", 1))
    return [build_actor_name(client.vllm_config.instance_id, rank, *sizes) for rank in range(cut.world_size)]


def ray_actors() -> dict[str, dict[str, Any]]:
    """Ray's rows of all actors by their ids, those that ended too."""
    from ray._private import state

    found: dict[str, dict[str, Any]] = state.actors()
    return found


def ray_nodes() -> list[dict[str, Any]]:
    """Ray's rows of all nodes, those that are gone too."""
    import ray

    found: list[dict[str, Any]] = ray.nodes()
    return found


def follow_steps(client: Any, noted: Callable[[Any, Any], None]) -> None:
    """Have `noted(scheduler's, iteration's)` told of every step: they all pass through vLLM's stat loggers."""
    manager = client.logger_manager
    record = manager.record

    def recorded(*arguments: Any, **named: Any) -> Any:
        scheduler = named.get("scheduler_stats") or (arguments[0] if arguments else None)
        iteration = named.get("iteration_stats") or (arguments[1] if len(arguments) > 1 else None)
        noted(scheduler, iteration)
        return record(*arguments, **named)

    manager.record = recorded


def grafana_dashboards() -> dict[str, str]:
    """Ray's own dashboards for Grafana by their names, as JSON: of nodes, of Serve, and of its deployments."""
    from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

    return {
        "ray-default": factory.generate_default_grafana_dashboard()[0],
        "ray-serve": factory.generate_serve_grafana_dashboard()[0],
        "ray-serve-deployment": factory.generate_serve_deployment_grafana_dashboard()[0],
    }
