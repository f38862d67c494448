"""What the operator sees of two models, over facts as hosts give them: verify, status, preflight, members, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.commands import models as models_command
from hardware.planner.options import declared
from hardware.planner.rates import Device
from hardware.planner.served import Place
from inventories import models
from operate import api, participation, preflight, status
from operate.clusters import ClusterInventory, Host
from operate.errors import OperatorError
from operate.runner import Observation
from operate.verification import judge
from operate.verification.ask import requests
from tests.conftest import MODEL

SECOND = "flan-t5-small"


@pytest.fixture
def cluster(several: Any) -> ClusterInventory:
    hosts = tuple(Host(name, {}, settings) for name, settings in several().items())
    return ClusterInventory("lab", Path("lab.py"), hosts)


def seen(**facts: Any) -> Observation:
    return Observation(connected=True, error="", facts=facts, errors={}, times={})


def serve(**applications: str) -> dict[str, Any]:
    first = next((status for status in applications.values() if status != "RUNNING"), "RUNNING")
    return {"status": first, "message": "soon" * (first != "RUNNING"), "replicas": [], "applications": applications}


def proof(node: str, model: str, **changes: Any) -> dict[str, Any]:
    found = {"node": node, "address": "", "model": model, "answer": "Paris", "correct": True, "seconds": 0.1}
    return {**found, "detail": "", **changes}


def test_verify_judges_each_application(cluster: ClusterInventory) -> None:
    for applications, expected in (
        ({MODEL: "RUNNING", SECOND: "RUNNING"}, [True, True]),
        ({MODEL: "RUNNING", SECOND: "DEPLOYING"}, [True, False]),
        ({MODEL: "RUNNING"}, [True, False]),
    ):
        checks = judge.application_checks(cluster, seen(serve=serve(**applications)), "run up")
        assert [check.ok for check in checks] == expected
    assert checks[1].detail == f"control: Serve says NOT_STARTED of {SECOND}"


def test_verify_knows_which_node_answers_for_which_model(cluster: ClusterInventory) -> None:
    both = [proof("compute0", MODEL), proof("compute1", SECOND)]
    checks = judge.proof_checks(cluster, seen(proofs={"unreachable": "", "proofs": both}))
    assert [check.detail.split(" answered")[0] for check in checks] == [f"compute0: {MODEL}", f"compute1: {SECOND}"]
    assert all(check.ok for check in checks)
    checks = judge.proof_checks(cluster, seen(proofs={"unreachable": "", "proofs": both[:1]}))
    assert [(check.ok, check.detail) for check in checks[1:]] == [(False, "compute1: no engine answers there")]


def test_weights_are_looked_for_where_they_have_to_be(cluster: ClusterInventory) -> None:
    asked = requests(cluster, full=False)
    verified = {
        name: [entry.arguments["directory"] for entry in entries if entry.key == "model"]
        for name, entries in asked.items()
    }
    models = "/var/lib/cluster/models"
    assert verified == {"control": [], "compute0": [f"{models}/{MODEL}"], "compute1": [f"{models}/{SECOND}"]}
    before = {
        name: [entry.arguments["directory"] for entry in entries if entry.key.startswith("model ")]
        for name, entries in preflight.requests(cluster).items()
    }
    assert before == {**verified, "control": [f"{models}/{MODEL}", f"{models}/{SECOND}"]}
    damaged = {"state": "corrupt", "problems": ["config.json is missing"], "bytes": 1}
    checks = preflight.model_checks(cluster.control, seen(**{f"model {models}/{SECOND}": damaged}), cluster.command)
    assert [check.ok for check in checks] == [False] and SECOND in checks[0].detail


def test_status_says_which_node_serves_what(cluster: ClusterInventory) -> None:
    found = {host.name: seen() for host in cluster.hosts}
    services = {"cluster-serve": {"active": True}}
    found["control"] = seen(services=services, serve=serve(**{MODEL: "RUNNING", SECOND: "DEPLOYING"}))
    told = status.describe(cluster, found)
    assert told["models"] == {MODEL: "RUNNING", SECOND: "DEPLOYING"} and told["application"] == "DEPLOYING"
    assert [row["model"] for row in told["nodes"]] == [None, MODEL, SECOND]
    found["control"] = seen(services={"cluster-serve": {"active": False}}, serve=serve())
    assert status.describe(cluster, found)["models"] == {MODEL: "DOWN", SECOND: "DOWN"}


def test_the_last_node_of_a_model_stays(cluster: ClusterInventory) -> None:
    with pytest.raises(OperatorError, match=f"compute1 is the last node of {SECOND}, and every other one has a model"):
        participation.refuse_to_remove(cluster, "compute1")


def test_a_model_that_is_not_declared(cluster: ClusterInventory) -> None:
    assert api.application_of(cluster).model.name == MODEL
    for name in (SECOND, "google/flan-t5-small", "hub:google/flan-t5-small", "hub:google/flan-t5-small@main"):
        assert api.application_of(cluster, name).model.task == "text-to-text"
        assert api.served_name(cluster, name) == SECOND
    assert (api.served_name(cluster, ""), api.served_name(cluster, "gpt2")) == (MODEL, "gpt2")
    with pytest.raises(OperatorError, match=f"lab does not serve 'gpt2'; it serves {MODEL}, {SECOND}"):
        api.application_of(cluster, "gpt2")


def test_the_catalogue_marks_both(cluster: ClusterInventory) -> None:
    place = Place("cpu", (Device("host", "node", "cpu", "cpu", memory_bytes=64 * 1024**3),), 2)
    served = {
        entry.model.name: declared(entry.serving.dtype, entry.serving.enforce_eager, entry.serving.engine)
        for entry in cluster.control.settings.applications
    }
    marked = {
        name: models_command.describe(models.entry(name), place, served)["served"] for name in (MODEL, SECOND, "gpt2")
    }
    assert marked == {MODEL: True, SECOND: True, "gpt2": False}
