"""What each host is declared to have: files, services, and what Ray Serve is told to run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from deploys import environment, roles, runtime_lock
from deploys.compute_base.declared import secret_files
from deploys.depot.declared import depot_file
from deploys.gateway import configuration as gateway
from deploys.hosts import of as kind_of
from deploys.ray_head.declared import head_service
from deploys.ray_worker.declared import worker_service
from deploys.services.description import Service
from deploys.settings import Settings
from deploys.vllm.declared import serve_configuration, serve_file, serve_service
from deploys.vllm.programs.request_limits import Limits
from deploys.watch.declared import watch_configuration
from hardware.catalog.h200 import H200
from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.model import Cluster, Node
from inventories.composition.serving import Gateway
from tests.conftest import MODEL

SECRET = "5eac0ffee5eac0ffee"  # noqa: S105 (what the test looks for)
PINNED = {
    "--object-manager-port": "object_manager",
    "--runtime-env-agent-port": "runtime_env_agent",
    "--dashboard-agent-grpc-port": "agent_grpc",
    "--dashboard-agent-listen-port": "agent_http",
    "--metrics-export-port": "metrics",
    "--min-worker-port": "worker_first",
    "--max-worker-port": "worker_last",
}


def options(service: Service) -> dict[str, str]:
    """`--key=value` arguments of a command; a bare `--key` has an empty value."""
    found = {}
    for argument in service.command:
        if argument.startswith("--"):
            key, _, value = argument.partition("=")
            assert key not in found, f"{key} is given twice"
            found[key] = value
    return found


def servers(accelerators: int) -> Cluster:
    compute = tuple(
        Node(
            name=f"compute{index}",
            role="compute",
            board="server",
            cluster_interface="eth0",
            accelerators=(H200,) * accelerators,
        )
        for index in range(2)
    )
    control = Node(name="control", role="control", board="server", cluster_interface="eth0")
    return Cluster(name="servers", version="1.0", control=control, compute=compute)


def llm_arguments(settings: Settings) -> dict[str, Any]:
    (application,) = serve_configuration(settings)["applications"]
    arguments: dict[str, Any] = application["args"]
    return arguments


@pytest.fixture(params=["managed", "supervised", "cuda"])
def hosts(request: pytest.FixtureRequest, composed: Any) -> dict[str, Settings]:
    made: dict[str, Settings] = (
        composed(GEFORCE_PAIR, model="qwen2.5-7b-instruct-awq")
        if request.param == "cuda"
        else composed(managed=request.param == "managed")
    )
    return made


def test_every_path_is_declared_once(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        paths = [file.path for file in roles.managed_files(settings)]
        assert len(paths) == len(set(paths))
        assert all(path.startswith("/") for path in paths)


def test_no_secret_is_in_a_file_or_a_command(composed: Any, home: Any) -> None:
    directory = home / "lab" / "secrets"
    directory.mkdir(parents=True)
    for secret in ("ray-token", "api-key"):
        (directory / secret).write_text(SECRET)
    for settings in composed().values():
        assert SECRET not in "".join(file.content for file in roles.managed_files(settings))
        for service in roles.services(settings):
            assert SECRET not in " ".join([*service.command, *service.environment.values()])
        # Nor does a managed file lie where a secret is put.
        assert not set(secret_files(settings).values()) & {file.path for file in roles.managed_files(settings)}


def test_services_in_the_order_in_which_they_start(composed: Any) -> None:
    managed, supervised = composed(), composed(managed=False)
    assert [service.name for service in roles.services(managed["control"])] == [
        "cluster-depot",
        "cluster-ray-head",
        "cluster-serve",
        "cluster-gateway",
        "cluster-watch",
    ]
    assert [service.name for service in roles.services(managed["compute0"])] == ["cluster-ray-worker"]
    assert "cluster-depot" not in [service.name for service in roles.services(supervised["control"])]


def test_the_head_can_load_no_model(hosts: dict[str, Settings]) -> None:
    control = next(settings for settings in hosts.values() if settings.is_control)
    found = options(head_service(control))
    assert (found["--num-cpus"], found["--num-gpus"]) == ("0", "0")
    assert json.loads(found["--resources"]) == {}
    assert "--head" in found and "--address" not in found


def test_what_the_head_remembers_outlives_it_and_another_ray_does_not_read_it(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        told = environment.ray_node(settings)
        assert int(told["RAY_gcs_rpc_server_reconnect_timeout_s"]) > 3600, "longer than a control node is repaired"
        if settings.is_control:
            head = head_service(settings).environment
            assert head["RAY_gcs_storage"] == "rocksdb"
            place = head["RAY_gcs_storage_path"]
            assert place.startswith(f"{settings.directories.ray}/"), "what `down` empties"
            assert place.endswith(f"/{runtime_lock.load(settings.runtime).name}")
        else:
            assert not {name for name in worker_service(settings).environment if name.startswith("RAY_gcs_storage")}
        forgetful = replace(settings, ray=replace(settings.ray, control_store="memory"))
        for variables in (environment.ray_node(forgetful), head_service(forgetful).environment):
            assert not {name for name in variables if name.startswith("RAY_gcs_")}


def test_a_worker_is_never_a_head_and_joins_the_declared_one(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        if settings.is_control:
            continue
        found = options(worker_service(settings))
        assert "--head" not in found
        assert found["--address"] == f"{settings.head_address}:{settings.ray.ports.gcs}"
        assert found["--num-gpus"] == str(len(settings.accelerators.names))
        assert settings.mine is not None
        assert json.loads(found["--resources"]) == {"engine": 1, f"engine:{settings.mine.name}": 1}


def test_every_port_is_pinned(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        for service in roles.services(settings):
            if "ray-" not in service.name:
                continue
            found = options(service)
            for option, port in PINNED.items():
                assert found[option] == str(getattr(settings.ray.ports, port))
            if settings.is_control:
                assert found["--port"] == str(settings.ray.ports.gcs)
                assert found["--dashboard-port"] == str(settings.ray.ports.dashboard)
                assert found["--dashboard-host"] == settings.network.address


def test_one_address_plan(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        service = head_service(settings) if settings.is_control else worker_service(settings)
        assert options(service)["--node-ip-address"] == settings.network.address
        assert service.environment["VLLM_HOST_IP"] == settings.network.address
        assert service.environment["CLUSTER_NODE_NAME"] == settings.node == options(service)["--node-name"]
        if kind_of(settings).has_own_system:
            assert service.environment["NCCL_SOCKET_IFNAME"] == f"={settings.network.interface}"
            assert service.environment["GLOO_SOCKET_IFNAME"] == settings.network.interface


def test_an_eager_engine_compiles_nothing_while_it_serves(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        told = environment.ray_node(settings).get("TORCH_COMPILE_DISABLE")
        if settings.runs_engine:
            assert settings.mine is not None
            assert told == ("1" if settings.mine.serving.enforce_eager else "0")
        else:
            assert told is None


def test_ray_wants_a_token_everywhere(hosts: dict[str, Settings]) -> None:
    for settings in hosts.values():
        assert "ray-token" in secret_files(settings)
        for service in roles.services(settings):
            if service.name not in ("cluster-depot", "cluster-gateway", "cluster-watch"):
                assert service.environment["RAY_AUTH_MODE"] == "token"
                assert service.environment["RAY_AUTH_TOKEN_PATH"] == secret_files(settings)["ray-token"]


def test_the_api_key_is_on_the_control_node_alone_and_only_beyond_loopback(composed: Any) -> None:
    loopback = {"control": "127.0.0.10", "compute0": "127.0.0.11", "compute1": "127.0.0.12"}
    assert [name for name, settings in composed().items() if "api-key" in secret_files(settings)] == ["control"]
    assert not any("api-key" in secret_files(here) for here in composed(addresses=loopback).values())


def test_the_depot_serves_the_compute_nodes_only_and_only_to_read(composed: Any) -> None:
    control = composed()["control"]
    lines = depot_file(control).content.splitlines()
    assert "hosts allow = 192.0.2.11 192.0.2.12" in lines
    assert f"address = {control.network.address}" in lines
    assert "read only = yes" in lines
    assert f"path = {control.directories.models}" in lines


def test_a_changed_application_restarts_what_applies_it(composed: Any) -> None:
    before = serve_service(composed()["control"])
    assert before.digest == serve_service(composed()["control"]).digest
    assert before.digest != serve_service(composed(dtype="float32")["control"]).digest


def test_serve_replicas_on_processors(composed: Any) -> None:
    control = composed()["control"]
    wanted = serve_configuration(control)
    assert wanted["proxy_location"] == "Disabled"
    (application,) = wanted["applications"]
    assert application["deployments"] == [{"name": "ProvenLLMServer:smollm2-135m-instruct", "num_replicas": 2}]
    arguments = llm_arguments(control)["llm_config"]
    assert arguments["deployment_config"]["num_replicas"] == 1, "another number here is another application"
    assert arguments["deployment_config"]["ray_actor_options"]["resources"] == {"engine:smollm2-135m-instruct": 1}
    assert arguments["placement_group_config"] == {"bundles": [{"CPU": 1}]}
    engine = arguments["engine_kwargs"]
    assert (engine["tensor_parallel_size"], engine["pipeline_parallel_size"]) == (1, 1)
    assert "enable_expert_parallel" not in engine
    assert llm_arguments(control)["golden"]["expected"] == "Paris"
    assert json.loads(serve_file(control).content) == wanted


def test_vllm_is_loaded_beside_ray_where_an_engine_of_one_rank_is_declared(composed: Any) -> None:
    program = "deploys.vllm.programs.with_engine_ready"
    hosts = composed()
    worker = worker_service(hosts["compute0"])
    assert worker.command[worker.command.index(program) + 1] == worker.environment["CLUSTER_ENGINE_SOCKET"]
    assert worker.environment["CLUSTER_ENGINE_MODEL"] == hosts["compute0"].model.directory
    assert worker.inputs, "it runs on while engines begin: another program is another service"
    assert "CLUSTER_ENGINE_SOCKET" not in head_service(hosts["control"]).environment
    spanning = composed(servers(1), model="mistral-small-instruct-2409-awq", mode="span")
    assert program not in worker_service(spanning["compute0"]).command


def test_serve_span_spreads_a_rank_to_each_node(composed: Any) -> None:
    control = composed(servers(1), model="mistral-small-instruct-2409-awq", mode="span")["control"]
    arguments = llm_arguments(control)["llm_config"]
    (application,) = serve_configuration(control)["applications"]
    assert application["deployments"][0]["num_replicas"] == 1
    assert arguments["placement_group_config"] == {
        "bundles": [{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}],
        "strategy": "SPREAD",
    }
    engine = arguments["engine_kwargs"]
    assert (engine["tensor_parallel_size"], engine["pipeline_parallel_size"]) == (1, 2)
    assert engine["quantization"] == "awq"
    assert "distributed_executor_backend" not in engine


def test_serve_mixture_of_experts(composed: Any) -> None:
    control = composed(servers(4), model="qwen3-30b-a3b")["control"]
    arguments = llm_arguments(control)["llm_config"]
    assert arguments["engine_kwargs"]["enable_expert_parallel"] is True
    assert arguments["engine_kwargs"]["tensor_parallel_size"] == 4
    assert len(arguments["placement_group_config"]["bundles"]) == 4
    assert "strategy" not in arguments["placement_group_config"], "one engine's ranks stay on its node"


def test_the_inventorys_engine_arguments_win(composed: Any) -> None:
    control = composed(engine={"max_num_seqs": 16, "max_model_len": 512})["control"]
    engine = llm_arguments(control)["llm_config"]["engine_kwargs"]
    assert (engine["max_num_seqs"], engine["max_model_len"]) == (16, 512)
    assert llm_arguments(control)["maximum_length"] == 512, "engines that are not vLLM's are told by this"


def test_several_models_are_applications_that_know_nothing_of_each_other(several: Any) -> None:
    hosts = several()
    wanted = {entry["name"]: entry for entry in serve_configuration(hosts["control"])["applications"]}
    assert list(wanted) == ["smollm2-135m-instruct", "flan-t5-small"]
    assert len({entry["route_prefix"] for entry in wanted.values()}) == 2
    for node, name in (("compute0", "smollm2-135m-instruct"), ("compute1", "flan-t5-small")):
        offers = json.loads(options(worker_service(hosts[node]))["--resources"])
        asks = wanted[name]["args"]["llm_config"]["deployment_config"]["ray_actor_options"]["resources"]
        assert asks == {f"engine:{name}": 1} and offers == {"engine": 1, **asks}
    # Another order, other options of the other one: an application is not changed by its neighbours.
    alone = serve_configuration(several(MODEL)["control"])["applications"]
    turned = serve_configuration(several("flan-t5-small", MODEL)["control"])["applications"]
    assert wanted["flan-t5-small"] == turned[0]
    first, lonely = wanted[MODEL], alone[0]
    assert first["args"] == lonely["args"] and lonely["deployments"][0]["num_replicas"] == 2


def test_the_gateway_and_the_page_know_which_node_serves_what(several: Any) -> None:
    control = several()["control"]
    assert [(one.model, [place.address for place in one.places]) for one in gateway.served(control)] == [
        (MODEL, ["192.0.2.11"] * 2),
        ("flan-t5-small", ["192.0.2.12"] * 2),
    ]
    assert [one.maximum_length for one in gateway.served(control)] == [2048, 0], "its own engine finds it in the model"
    assert gateway.health_of(control) == (
        f"http://192.0.2.10:8000/health?model={MODEL}",
        "http://192.0.2.10:8000/health?model=flan-t5-small",
    )
    told = watch_configuration(control)
    assert told["models"] == [MODEL, "flan-t5-small"]
    assert {node["name"]: node["model"] for node in told["nodes"]} == {
        "control": "",
        "compute0": MODEL,
        "compute1": "flan-t5-small",
    }


def test_ranks_of_one_model_cannot_land_on_anothers_nodes(several: Any) -> None:
    control = several("qwen3-30b-a3b", "mistral-small-instruct-2409-awq", profile=servers(4))["control"]
    for entry in serve_configuration(control)["applications"]:
        arguments, resource = entry["args"]["llm_config"], f"engine:{entry['name']}"
        bundles = arguments["placement_group_config"]["bundles"]
        slot = arguments["deployment_config"]["ray_actor_options"]["resources"][resource]
        assert len(bundles) == 4 and all(bundle[resource] > 0 for bundle in bundles)
        assert slot > 0.5 and slot + sum(bundle[resource] for bundle in bundles) <= 1


@pytest.mark.parametrize(
    ("model", "parser", "reasoning", "tools"),
    [
        ("qwen2.5-7b-instruct-awq", "hermes", None, "chosen"),
        ("qwen3-30b-a3b", "hermes", "qwen3", "chosen"),
        ("mistral-small-instruct-2409-awq", "mistral", None, "chosen"),
        ("gpt2", "hermes", None, "forced"),
        ("flan-t5-small", None, None, "none"),
    ],
)
def test_tool_calls_and_limits_are_the_models_and_the_gateways(
    composed: Any, model: str, parser: str | None, reasoning: str | None, tools: str
) -> None:
    control = composed(servers(1), model=model, gateway=Gateway(request_answers=7))["control"]
    arguments = llm_arguments(control)
    engine = arguments["llm_config"]["engine_kwargs"]
    assert (engine.get("tool_call_parser"), engine.get("reasoning_parser")) == (parser, reasoning)
    assert engine.get("enable_auto_tool_choice") is (True if parser else None)
    assert arguments["limits"] == {"answers": 7, "length": engine["max_model_len"], "tools": tools}
    assert Limits(model, **arguments["limits"]).tools == tools


def test_an_inventory_may_name_another_parser(composed: Any) -> None:
    control = composed(servers(1), model="gpt2", engine={"tool_call_parser": "pythonic"})["control"]
    assert llm_arguments(control)["llm_config"]["engine_kwargs"]["tool_call_parser"] == "pythonic"
    assert llm_arguments(control)["limits"]["tools"] == "chosen"
