"""The status from what the control node knows (`GET /cluster/state`): when it is taken, and that it says the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operate import api, runner, status
from operate.clusters import ClusterInventory, Host
from operate.runner import Observation
from tests.conftest import MODEL

SECOND = "flan-t5-small"
LIFE = {"state": "serving", "since": 900.0, "proofs": {"asked": 3, "failed": 0}, "requests": {"running": 1}}
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def cluster(several: Any) -> ClusterInventory:
    hosts = tuple(Host(name, {}, settings) for name, settings in several().items())
    return ClusterInventory("lab", Path("lab.py"), hosts)


@pytest.fixture
def known(cluster: ClusterInventory) -> dict[str, Any]:
    """In the shape that cluster_watch.py gives, of a cluster where all serve."""
    addresses = {host.name: host.settings.network.address for host in cluster.hosts}
    return {
        "cluster": cluster.control.settings.cluster,
        "at": 1000.0,
        "ray": {"answers": True, "detail": "", "heard": 998.0},
        "serve": {
            "status": "RUNNING",
            "applications": {MODEL: "RUNNING", SECOND: "RUNNING"},
            "replicas": [],
            "heard": 997.5,
        },
        "nodes": [{"name": name, "state": "up", "alive": True} for name in addresses],
        "replicas": [
            {"node": name, "address": addresses[name], "reason": "", "heard": 999.0, **LIFE}
            for name in ("compute0", "compute1")
        ],
    }


def told(cluster: ClusterInventory, known: dict[str, Any]) -> dict[str, Any]:
    found = status.describe_known(cluster, known)
    assert found is not None
    return found


def test_it_says_what_the_hosts_would_say(cluster: ClusterInventory, known: dict[str, Any]) -> None:
    hosts = {host.name: Observation(connected=True, error="", facts={}, errors={}, times={}) for host in cluster.hosts}
    control = {
        "services": {"cluster-serve": {"active": True}},
        "serve": known["serve"],
        "nodes": {"nodes": [{"name": host.name, "alive": True} for host in cluster.hosts]},
        "life": known["replicas"],
    }
    hosts["control"] = Observation(connected=True, error="", facts=control, errors={}, times={})
    asked, found = status.describe(cluster, hosts), told(cluster, known)
    assert {**asked, "source": "", "age_seconds": 0} == {**found, "source": "", "age_seconds": 0}
    assert (asked["source"], found["source"], found["age_seconds"]) == ("hosts", "control", 2.5)
    assert status.Status(found, reached=True).exit_code == 0


LOOP = {"active": False, "manager_state": "BACKOFF", "restarts": 4, "last_words": "out of memory"}


@pytest.mark.parametrize("known_by_control", [True, False])
def test_a_crash_loop_is_told(
    cluster: ClusterInventory, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch, known_by_control: bool
) -> None:
    # Who is asked is of interest, and there is no host to ask: the answers are made here.
    def observe(asked: ClusterInventory, requests: Any) -> dict[str, Observation]:
        services = {"services": {"cluster-ray-worker": LOOP, "cluster-other": {"active": True}}}
        return {
            host.name: Observation(True, "", services if host.name in requests else {}, {}, {}) for host in asked.hosts
        }

    known["nodes"][2].update(alive=False)
    monkeypatch.setattr(runner, "observe", observe)
    monkeypatch.setattr(api, "state", lambda cluster: known if known_by_control else None)
    rows = {row["node"]: row["trouble"] for row in status.read(cluster).told["nodes"]}
    (said,) = rows["compute1"]
    assert said.startswith("cluster-ray-worker ends and is started again and again (BACKOFF, 4 restarts)")
    assert said.endswith("out of memory")
    assert bool(rows["compute0"]) is not known_by_control, "only who is absent is asked"


CHANGES: dict[str, Change] = {
    "another cluster's": lambda known: known.update(cluster="other"),
    "Ray does not answer": lambda known: known["ray"].update(answers=False),
    "Ray was heard long ago": lambda known: known["ray"].update(heard=900.0),
    "Serve was heard long ago": lambda known: known["serve"].update(heard=0.0),
    "a node is not known": lambda known: known["nodes"].pop(),
    "an older watch service": lambda known: known.pop("serve"),
    "another shape": lambda known: known.update(replicas={"a": 1}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_hosts_are_asked_where_the_control_node_does_not_know(
    cluster: ClusterInventory, known: dict[str, Any], case: str
) -> None:
    changed = copy.deepcopy(known)
    CHANGES[case](changed)
    assert status.describe_known(cluster, changed) is None


def test_what_is_amiss_is_told(cluster: ClusterInventory, known: dict[str, Any]) -> None:
    known["serve"]["applications"][SECOND] = "DEPLOYING"
    known["nodes"][2].update(state="silent", alive=False)
    known["replicas"][0].update(state="wrong", reason="it said Rome")
    known["replicas"][1].update(state="gone")
    found = told(cluster, known)
    assert found["application"] == "DEPLOYING" and status.Status(found, reached=True).exit_code == 1
    first, second = found["nodes"][1:]
    assert (first["engine"], first["reason"]) == ("wrong", "it said Rome")
    assert (second["engine"], second["ray"], second["reachable"]) == ("absent", "absent", False)


def test_an_engine_that_starts_is_known_from_serve(cluster: ClusterInventory, known: dict[str, Any]) -> None:
    replica = known["replicas"].pop()
    known["serve"]["replicas"] = [
        {"deployment": "ProvenLLMServer:x", "address": replica["address"], "state": "STARTING"}
    ]
    assert told(cluster, known)["nodes"][2]["engine"] == "starting"
