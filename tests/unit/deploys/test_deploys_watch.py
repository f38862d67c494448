"""The watch service as it is declared: what it is told, its files, and that it starts from exactly these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from deploys import roles
from deploys.compute_base.declared import secret_files
from deploys.settings import Settings
from deploys.watch.declared import files as watch_files
from deploys.watch.declared import node_label, verify_path, watch_configuration, watch_service
from deploys.watch.programs.watch_state import Replicas, proof
from hardware.v0_1 import CLUSTER as V0_1
from tests.watched import HEAD, free_port, wait_until

LOOPBACK = {"control": HEAD, "compute0": "127.0.0.51", "compute1": "127.0.0.52"}


@pytest.fixture
def control(composed: Any) -> Settings:
    found: Settings = composed()["control"]
    return found


def test_nodes_with_their_labels_ports_and_parts(composed: Any, control: Settings) -> None:
    nodes = watch_configuration(control)["nodes"]
    assert [node["label"] for node in nodes] == ["Head Node", "Worker Node #1", "Worker Node #2"]
    assert [node["role"] for node in nodes] == ["control", "compute", "compute"]
    assert {node["name"]: node["address"] for node in nodes} == dict(control.network.peers)
    assert nodes[0]["engine_ports"] == [] and nodes[1]["engine_ports"] == list(control.gateway.engine_ports["compute0"])
    with_gpus = watch_configuration(composed(V0_1, model="mistral-small-instruct-2409-awq", mode="span")["control-0-1"])
    assert [node["accelerators"] for node in with_gpus["nodes"]] == [
        [],
        ["AMD Radeon RX 7600 XT"],
        ["AMD Radeon RX 7600 XT"],
    ]
    assert [(link["kind"], link["members"], link["optional"]) for link in with_gpus["links"]] == [
        ("ethernet", ["control-0-1", "compute0", "compute1"], False),
        ("usb4", ["compute0", "compute1"], True),
    ]
    assert with_gpus["span"] is True


def test_labels_follow_the_inventory(control: Settings) -> None:
    assert node_label(control, "control") == "Head Node"
    assert node_label(control, "compute1") == "Worker Node #2"


def test_the_key_is_wanted_where_the_api_wants_one(composed: Any, control: Settings) -> None:
    assert watch_configuration(control)["key_file"] == secret_files(control)["api-key"]
    assert watch_configuration(composed(addresses=LOOPBACK)["control"])["key_file"] == ""
    assert watch_configuration(control)["token_file"] == secret_files(control)["ray-token"]


def test_whatever_the_service_reads_restarts_it(composed: Any, control: Settings) -> None:
    service = watch_service(control)
    assert service.inputs == tuple(file.sha256 for file in watch_files(control))
    assert service.digest != watch_service(composed(api_port=8443)["control"]).digest
    assert service.name in [declared.name for declared in roles.services(control)]
    declared = {file.path for file in roles.managed_files(control)}
    assert {file.path for file in watch_files(control)} <= declared
    assert not [file for file in declared if file == verify_path(control)], "a record is no declared file"


def test_compute_nodes_have_none_of_it(composed: Any) -> None:
    compute = composed()["compute0"]
    assert "cluster-watch" not in [service.name for service in roles.services(compute)]
    assert not [file for file in roles.managed_files(compute) if "watch" in file.path or "/page/" in file.path]


def test_the_page_refers_only_to_files_that_are_there(control: Settings) -> None:
    files = {Path(file.path).name: file.content for file in watch_files(control) if "/page/" in file.path}
    assert {"index.html", "style.css", "main.js", "icon.svg"} <= set(files)
    for name, text in files.items():
        for part in text.split('"')[1::2]:
            if part.startswith(("/ui/", "./")) and part.endswith((".js", ".css", ".svg")):
                assert part.rpartition("/")[2] in files, f"{name} refers to {part}"
        found = [word for word in text.split() if "//" in word and "http" in word and "www.w3.org" not in word]
        assert not found, f"{name} refers to another host: {found}"


def test_it_starts_from_the_declared_files_alone(tmp_path: Path, composed: Any) -> None:
    control = composed(managed=False, addresses=LOOPBACK)["control"]
    port = free_port(HEAD)
    places = {}
    for file in watch_files(control):
        place = tmp_path / file.path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.content)
        places[file.path] = place
    service = watch_service(control)
    configuration = places[service.command[-1]]
    told = json.loads(configuration.read_text())
    told |= {"port": port, "page": f"{tmp_path}{told['page']}", "token_file": "", "verify_file": str(tmp_path / "none")}
    configuration.write_text(json.dumps(told))
    process = subprocess.Popen(
        [sys.executable, *service.command[1:-1], str(configuration)],
        env={
            **service.environment,
            "PYTHONPATH": f"{tmp_path}{service.environment['PYTHONPATH']}",
            "PATH": os.environ["PATH"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:

        def answers() -> bool:
            assert process.poll() is None, process.communicate()[0]
            try:
                with urllib.request.urlopen(f"http://{HEAD}:{port}/cluster/state", timeout=5) as answer:
                    return bool(json.load(answer)["cluster"] == control.cluster)
            except OSError:
                return False

        wait_until(answers, 20, "the service answers")
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.mark.parametrize(
    ("state", "running", "idle"), [("serving", 0, True), ("serving", 1, False), ("wedged", 0, False)]
)
def test_it_looks_more_seldom_only_while_every_engine_serves_and_none_has_work(
    state: str, running: int, idle: bool
) -> None:
    replicas = Replicas(8)
    for node in ("compute0", "compute1"):
        assert not replicas.idle(["compute0", "compute1"]), "an engine that was not heard of is looked for"
        said = {"state": state, "replica": node, "requests": {"running": running, "waiting": 0, "finished": 3}}
        replicas.hear(proof(said, node=node, address="10.0.0.1", port=8100) or {}, 1.0)
    assert replicas.idle(["compute0", "compute1"]) is idle
