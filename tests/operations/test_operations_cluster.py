"""Operations on runtime, weights and the state of the cluster, against what their facts say.

Ray's answers are those captured from Ray 2.60.0 (tests/unit/facts/fixtures).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from deploys import roles, runtime_lock
from deploys.compute_base.declared import CLUSTER_WAIT
from deploys.operations import model, ready, runtime, shared_memory
from deploys.settings import Settings
from facts.memory import Memory, SharedMemory
from facts.parse.memory import MemoryReport
from facts.ray import Nodes, Runtime, Serve
from facts.reach import Reach
from facts.vllm import ModelDirectory
from hardware.laptop import CLUSTER as laptop_profile

CAPTURED = Path(__file__).parents[1] / "unit" / "facts" / "fixtures" / "ray-2.60.0"
LIBRARY = "/usr/local/lib/cluster/deploys/compute_base/programs"
MODEL = "smollm2-135m-instruct"
LOOPBACK = {"head": "127.0.0.10", "worker1": "127.0.0.11", "worker2": "127.0.0.12"}


def captured(name: str) -> Any:
    """As Ray said it; the application had another name when this was captured."""
    return json.loads((CAPTURED / f"{name}.json").read_text().replace('"llm": {', f'"{MODEL}": {{'))


def output(answer: Any) -> list[str]:
    return [json.dumps(answer)]


@pytest.fixture
def managed(composed: Any) -> dict[str, Settings]:
    found: dict[str, Settings] = composed()
    return found


@pytest.fixture
def head(composed: Any) -> Settings:
    """The control node of the cluster from which Ray's answers were captured."""
    found: Settings = composed(laptop_profile, managed=False, addresses=LOOPBACK)["head"]
    return found


def runtime_lines(settings: Settings, *, whole: bool) -> list[str]:
    noted = [json.dumps({"python": "3.11.2", "versions": {"ray": "2.60.0"}})] if whole else []
    return [f"runtime {runtime_lock.directory(settings)}", *noted]


@pytest.mark.parametrize("operation", [runtime.build, runtime.copy_from_depot])
def test_a_whole_runtime(given_host: Any, unchanged: Any, managed: dict[str, Settings], operation: Any) -> None:
    settings = managed["control"]
    unchanged(given_host.run(operation, {Runtime: runtime_lines(settings, whole=True)}, settings=settings))


def test_a_missing_runtime_is_built(given_host: Any, composed: Any) -> None:
    settings = composed()["control"]
    outcome = given_host.run(runtime.build, {Runtime: runtime_lines(settings, whole=False)}, settings=settings)
    (command,) = outcome.commands
    words = shlex.split(command)
    name = runtime_lock.load(settings.runtime).name
    assert words[:2] == ["env", "UV_CACHE_DIR=/opt/cluster/uv-cache"]
    assert words[2:6] == [
        "/usr/local/lib/cluster/deploys/compute_base/programs/build_runtime.sh",
        f"/opt/cluster/runtime/{name}",
        settings.runtime.python,
        f"/usr/local/lib/cluster/{name}.lock",
    ]
    # The lock that it reads is one of the files that compute_base puts there.
    assert words[5] in {file.path for file in roles.managed_files(settings)}


def test_a_missing_runtime_is_copied(given_host: Any, managed: dict[str, Settings]) -> None:
    settings = managed["compute0"]
    outcome = given_host.run(
        runtime.copy_from_depot, {Runtime: runtime_lines(settings, whole=False)}, settings=settings
    )
    name = runtime_lock.load(settings.runtime).name
    directory = f"/opt/cluster/runtime/{name}"
    assert outcome.commands[0] == (
        f"{LIBRARY}/fetch_from_depot.sh 192.0.2.10 8730 runtime {name} {directory} complete.json"
    )
    assert outcome.commands[1].startswith(f"[ -x {directory}/bin/python ] || rsync ")
    assert len(outcome.commands) == 2


MODEL_STATES = {
    "whole": {"state": "whole", "problems": [], "bytes": 1},
    "missing": {"state": "missing", "problems": [], "bytes": 0},
    "corrupt": {"state": "corrupt", "problems": ["config.json is missing"], "bytes": 1},
    "unknown": {"state": "unknown", "problems": ["manifest.json is missing"], "bytes": 1},
}


@pytest.mark.parametrize("operation", [model.fetch, model.copy_from_depot])
def test_a_whole_model(given_host: Any, unchanged: Any, managed: dict[str, Settings], operation: Any) -> None:
    facts = {ModelDirectory: output(MODEL_STATES["whole"])}
    unchanged(given_host.run(operation, facts, settings=managed["control"], model=managed["control"].model))


def test_a_missing_model_is_fetched(given_host: Any, managed: dict[str, Settings]) -> None:
    settings = managed["control"]
    outcome = given_host.run(
        model.fetch, {ModelDirectory: output(MODEL_STATES["missing"])}, settings=settings, model=settings.model
    )
    (command,) = outcome.commands
    words = shlex.split(command)
    assert words[-6:] == [
        f"{runtime_lock.directory(settings)}/bin/python",
        "-P",
        "-m",
        "deploys.vllm.programs.fetch_model",
        settings.model.directory,
        json.dumps(dict(settings.model.source), sort_keys=True),
    ]
    assert "UV_CACHE_DIR=/opt/cluster/uv-cache" in words


def test_a_hubs_model_is_fetched_with_what_the_memory_allows(given_host: Any, composed: Any) -> None:
    missing = {ModelDirectory: output(MODEL_STATES["missing"]), Memory: MemoryReport(16 * 1024**3, 0, 0, 0)}
    for shared, engines in ((True, 2), (False, 0)):
        settings = composed(model="hub:somebody/something", site={"shared_processors": shared})["control"]
        (command,) = given_host.run(model.fetch, missing, settings=settings, model=settings.model).commands
        options = json.loads(shlex.split(command)[-1])
        assert ("fit" in options) is bool(engines), "another machine's memory is not the control node's"
        if engines:
            assert options["fit"]["where"] == "a node"
            # A gibibyte is the system's; the rest is for both engines, each with more than its weights.
            assert 0 < options["fit"]["room_bytes"] < 15 * 1024**3 // engines


def test_a_missing_model_is_copied(given_host: Any, managed: dict[str, Settings]) -> None:
    settings = managed["compute0"]
    facts = {ModelDirectory: output(MODEL_STATES["missing"])}
    outcome = given_host.run(model.copy_from_depot, facts, settings=settings, model=settings.model)
    assert outcome.commands == [
        f"{LIBRARY}/fetch_from_depot.sh 192.0.2.10 8730 models smollm2-135m-instruct "
        f"{settings.model.directory} manifest.json"
    ]


def test_a_damaged_model_is_mended(given_host: Any, managed: dict[str, Settings]) -> None:
    facts = {ModelDirectory: output(MODEL_STATES["corrupt"])}
    here = managed["compute0"]
    (command,) = given_host.run(model.copy_from_depot, facts, settings=here, model=here.model).commands
    assert shlex.split(command)[3:] == [
        *("models", "smollm2-135m-instruct", here.model.directory, "manifest.json", "mend")
    ]
    head = managed["control"]
    (command,) = given_host.run(model.fetch, facts, settings=head, model=head.model).commands
    assert json.loads(shlex.split(command)[-1]) == {"mend": True}


@pytest.mark.parametrize("operation", [model.fetch, model.copy_from_depot])
def test_a_model_without_a_manifest_is_refused(
    given_host: Any, managed: dict[str, Settings], operation: Any, state: str = "unknown"
) -> None:
    settings = managed["compute0"]
    with pytest.raises(OperationError) as raised:
        given_host.run(
            operation, {ModelDirectory: output(MODEL_STATES[state])}, settings=settings, model=settings.model
        )
    said = str(raised.value)
    assert said.startswith(f"compute0: model {settings.model.directory}: ")
    assert MODEL_STATES[state]["problems"][0] in said  # type: ignore[index]
    assert "remove the directory" in said


def waits(command: str, settings: Settings) -> list[str]:
    """Arguments that cluster_wait.py gets, but for the service manager and the dashboard's address."""
    words = shlex.split(command)
    program = words.index(CLUSTER_WAIT)
    assert words[0] == "env" and words[program - 3 : program] == ["python3", "-P", "-m"]
    assert f"PYTHONPATH={settings.directories.library}" in words[:program]
    assert any(word.startswith("RAY_AUTH_TOKEN_PATH=") for word in words[:program])
    manager, service, dashboard = words[program + 1 : program + 4]
    supervised = settings.system.service_manager == "supervisor"
    assert manager == (f"{settings.directories.state}/supervisor" if supervised else "systemd")
    assert dashboard == f"http://{settings.head_address}:8265"
    return [service, *words[program + 4 :]]


def test_a_head_that_answers(given_host: Any, unchanged: Any, head: Settings) -> None:
    unchanged(given_host.run(ready.wait_for_head, {Reach: ["open"]}, settings=head))


def test_a_head_that_does_not(given_host: Any, head: Settings) -> None:
    outcome = given_host.run(ready.wait_for_head, {Reach: ["refused"]}, settings=head)
    (command,) = outcome.commands
    assert waits(command, head) == ["cluster-ray-head", "head", "120", "127.0.0.10:6379"]


def test_exactly_the_declared_nodes(given_host: Any, unchanged: Any, head: Settings) -> None:
    unchanged(given_host.run(ready.wait_for_nodes, {Nodes: output(captured("nodes"))}, settings=head))


@pytest.mark.parametrize("change", ["unreachable", "dead", "missing", "extra", "other address"])
def test_other_nodes_than_the_declared(given_host: Any, head: Settings, change: str) -> None:
    answer = captured("nodes")
    rows = answer["data"]["result"]["result"]
    if change == "dead":
        rows[1]["state"] = "DEAD"
    elif change == "missing":
        del rows[1]
    elif change == "extra":
        rows.append({**rows[1], "node_name": "stranger", "node_ip": "192.0.2.99"})
    elif change == "other address":
        rows[1]["node_ip"] = "192.0.2.99"
    else:
        answer = {"unreachable": "refused"}
    outcome = given_host.run(ready.wait_for_nodes, {Nodes: output(answer)}, settings=head)
    (command,) = outcome.commands
    assert waits(command, head) == [
        "cluster-ray-head",
        "nodes",
        str(180 + 15 * len(LOOPBACK)),
        *(f"{name}={address}" for name, address in LOOPBACK.items()),
    ]


def test_a_dead_node_beside_its_successor_is_no_difference(given_host: Any, unchanged: Any, head: Settings) -> None:
    answer = captured("nodes")
    rows = answer["data"]["result"]["result"]
    rows.append({**rows[1], "state": "DEAD"})
    unchanged(given_host.run(ready.wait_for_nodes, {Nodes: output(answer)}, settings=head))


def test_a_worker_waits_until_it_has_joined(given_host: Any, composed: Any) -> None:
    worker = composed(laptop_profile, managed=False, addresses=LOOPBACK)["worker1"]
    (command,) = given_host.run(ready.wait_for_join, {}, settings=worker).commands
    assert waits(command, worker) == [
        "cluster-ray-worker",
        "joined",
        str(180 + 15 * len(LOOPBACK)),
        f"{worker.node}={worker.network.address}",
    ]


def test_every_engine_answered(given_host: Any, unchanged: Any, head: Settings) -> None:
    unchanged(given_host.run(ready.wait_for_engines, {Serve: output(captured("serve"))}, settings=head))


@pytest.mark.parametrize("change", ["unreachable", "not deployed", "deploying", "one engine"])
def test_not_every_engine_answered(given_host: Any, head: Settings, change: str) -> None:
    answer = captured("serve")
    if change == "unreachable":
        answer = {"unreachable": "refused"}
    elif change == "not deployed":
        answer["applications"] = {}
    elif change == "deploying":
        answer["applications"][MODEL]["status"] = "DEPLOYING"
    else:
        answer["applications"][MODEL]["deployments"]["ProvenLLMServer:smollm2-135m-instruct"]["replicas"].pop()
    outcome = given_host.run(ready.wait_for_engines, {Serve: output(answer)}, settings=head)
    (command,) = outcome.commands
    assert waits(command, head) == ["cluster-serve", "engines", "1800", f"{MODEL}=2"]


def test_an_application_that_was_given_up_is_begun_anew(given_host: Any, head: Settings) -> None:
    answer = captured("serve")
    answer["applications"][MODEL]["status"] = "DEPLOY_FAILED"
    outcome = given_host.run(ready.wait_for_engines, {Serve: output(answer)}, settings=head)
    assert outcome.commands[0].endswith("restart cluster-serve")
    assert waits(outcome.commands[1], head) == ["cluster-serve", "engines", "1800", f"{MODEL}=2"]


def _filesystem(size_bytes: int) -> list[str]:
    """Output of `df` for /dev/shm, in the sections that facts.commands makes."""
    row = f"tmpfs tmpfs {size_bytes} 0 {size_bytes} 0% /dev/shm"
    header = "Filesystem Type 1-blocks Used Available Capacity Mounted on"
    return ["##begin filesystem", header, row, "", "##end filesystem 0"]


def test_shared_memory_that_is_large_enough_is_left(given_host: Any, unchanged: Any) -> None:
    unchanged(given_host.run(shared_memory.ensure, {SharedMemory: _filesystem(200_000_000)}, size_bytes=200_000_000))


def test_shared_memory_that_is_too_small_is_enlarged_now_and_at_boot(given_host: Any) -> None:
    outcome = given_host.run(shared_memory.ensure, {SharedMemory: _filesystem(64 * 1024**2)}, size_bytes=200_000_000)
    text = " ".join(str(command) for command in outcome.commands)
    assert "/etc/fstab" in text
    assert "remount,size=200000000" in text
