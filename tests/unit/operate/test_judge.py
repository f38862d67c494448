"""Each check of `cluster verify` made to fail once, by one change to what a healthy cluster says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardware.v0_1 import CLUSTER as V0_1
from operate.verification.ask import requests
from operate.verification.judge import judge
from tests.unit.operate.conftest import ANSWER, Seen, Watched

SPAN = {"profile": V0_1, "mode": "span"}
STRAY = {
    "name": "stray",
    "address": "192.0.2.66",
    "alive": True,
    "head": False,
    "why_dead": "",
    "cpus": 0.0,
    "gpus": 0.0,
    "engine_slots": 0.0,
}


def wrong(seen: Seen) -> list[tuple[str, bool | None, str]]:
    return [(check.name, check.ok, check.detail) for check in judge(seen.cluster, seen.found) if check.ok is not True]


@pytest.mark.parametrize("how", [{}, {"managed": False}, SPAN])
def test_what_is_as_declared_holds(watched: Watched, how: dict[str, Any]) -> None:
    seen = watched(**how)
    assert wrong(seen) == []
    assert {check.name for check in judge(seen.cluster, seen.found)} - {"names"} == {
        *("reach", "service", "configuration", "runtime", "model", "placement"),
        *("topology", "gateway", "application", "answer"),
        *(() if how.get("managed") is False else ("cluster_address", "link_state")),
        *(("gpu_tool", "gpu_count", "gpu_memory", "gpu_drivers") if how is SPAN else ()),
    }


def test_names_that_somebody_else_wrote_over(watched: Watched) -> None:
    seen = watched()
    seen.set("compute0", "names|hosts", "127.0.0.1 localhost\n127.0.1.1 compute0\n")
    ((name, ok, detail),) = wrong(seen)
    assert (name, ok, detail) == ("names", False, "compute0: /etc/hosts has not the cluster's names")
    seen.set("compute0", "names|cloud_init", "/etc/cloud/cloud.cfg")
    ((_, _, detail),) = wrong(seen)
    assert detail.endswith("cloud-init writes it anew at every boot (manage_etc_hosts in /etc/cloud/cloud.cfg)")
    seen.unread("compute0", "names")
    assert [(name, ok) for name, ok, _ in wrong(seen)] == [("names", None)]


@pytest.mark.parametrize("managed", [True, False])
def test_every_fact_that_is_judged_is_asked_for(watched: Watched, managed: bool) -> None:
    seen = watched(managed=managed)
    for host, asked in requests(seen.cluster, full=False).items():
        assert {entry.key for entry in asked} <= set(seen.facts(host))


@pytest.mark.parametrize(
    ("host", "path", "value", "name", "said"),
    [
        ("compute0", "services|cluster-ray-worker|active", False, "service", "cluster-ray-worker is not running"),
        ("compute0", "services|cluster-ray-worker", None, "service", "cluster-ray-worker is not running"),
        ("control", "services|cluster-serve|enabled", False, "service", "cluster-serve does not start at boot"),
        ("control", "services|cluster-depot|configuration", "old", "service", "another configuration"),
        ("control", "files|/etc/cluster/serve.json", None, "configuration", "/etc/cluster/serve.json is missing"),
        ("control", "files|/etc/cluster/serve.json|sha256", "0", "configuration", "differs from the declared one"),
        ("control", "files|/etc/cluster/serve.json|mode", "0666", "configuration", "/etc/cluster/serve.json is 0666"),
        ("compute1", "files|/etc/cluster/ray-token", None, "configuration", "secret /etc/cluster/ray-token is missing"),
        ("compute1", "files|/etc/cluster/ray-token|mode", "0444", "configuration", "is readable by others"),
        ("compute1", "files|/etc/cluster/ray-token|sha256", "0", "configuration", "is not this machine's copy"),
        ("compute1", "firewall", "rules_0", "configuration", "loaded firewall rules are not the declared ones"),
        ("compute0", "runtime|complete", False, "runtime", "is not whole"),
        ("compute0", "runtime|ray_version", "2.0.0", "runtime", "Ray 2.0.0 instead of"),
        ("compute0", "runtime|ray_version", "", "runtime", "Ray unknown instead of"),
        ("compute0", "model|state", "missing", "model", ": missing"),
        ("control", "processes|engines", ["VLLM::EngineCore"], "placement", "runs an engine (VLLM::EngineCore)"),
        ("control", "nodes|nodes|2|alive", False, "topology", "compute1: missing from Ray's nodes"),
        ("control", "nodes|nodes|1|address", "10.0.0.1", "topology", "compute0: in Ray with address 10.0.0.1 instead"),
        ("control", "nodes|nodes|1|cpus", 64.0, "topology", "compute0: in Ray with cpus 64.0 instead of"),
        ("control", "nodes|nodes|1|gpus", 1.0, "topology", "compute0: in Ray with gpus 1.0 instead of 0.0"),
        ("control", "nodes|nodes|1|engine_slots", 0.0, "topology", "compute0: in Ray with engine_slots 0.0 instead"),
        ("control", "nodes|nodes|1|head", True, "topology", "compute0: in Ray with is the head"),
        ("control", "nodes|nodes|0|head", False, "topology", "control: in Ray with is not the head"),
        ("control", "nodes|unreachable", "refused", "topology", "control: Ray does not answer: refused"),
        ("control", "gateway", "0", "gateway", "with another configuration than the declared one"),
        ("control", "gateway", "", "gateway", "the gateway runs not, or does not answer on its socket"),
        ("control", "serve|applications|smollm2-135m-instruct", "DEPLOYING", "application", "Serve says DEPLOYING of"),
        ("control", "proofs|proofs|0|correct", False, "answer", "compute0: engine gives no right answer"),
        ("control", "proofs|proofs|0|node", "control", "answer", "control: an engine answers there and none is"),
    ],
)
def test_one_thing_is_wrong(watched: Watched, host: str, path: str, value: Any, name: str, said: str) -> None:
    seen = watched()
    seen.set(host, path, value)
    found = wrong(seen)
    assert [entry[:2] for entry in found][:1] == [(name, False)], found
    assert said in found[0][2]
    remedies = [check.remedy for check in judge(seen.cluster, seen.found) if check.ok is False]
    assert all(remedies), "whoever reads what is wrong is told what to do"


LOOP = {"active": False, "manager_state": "activating/auto-restart", "restarts": 7, "last_words": "out of memory"}


def test_a_crash_loop_is_named_with_its_last_words(watched: Watched) -> None:
    seen = watched()
    seen.facts("compute0")["services"]["cluster-ray-worker"] |= LOOP
    (check,) = [check for check in judge(seen.cluster, seen.found) if check.ok is not True]
    said = "(activating/auto-restart, 7 restarts); its last words: out of memory"
    assert check.detail == f"compute0: cluster-ray-worker ends and is started again and again {said}"
    assert check.remedy == "mend what its log names: journalctl -u cluster-ray-worker on compute0"


@pytest.mark.parametrize(
    ("host", "key"),
    [
        *[("compute0", key) for key in ("services", "files", "runtime", "model", "processes")],
        *[("control", key) for key in ("nodes", "gateway", "serve", "proofs")],
    ],
)
def test_what_could_not_be_read_is_not_told(watched: Watched, host: str, key: str) -> None:
    seen = watched()
    seen.unread(host, key)
    assert wrong(seen) == [(key, None, f"{host}: {key} could not be read: no answer within 75 s")]


def test_engines_that_could_not_be_asked_are_not_told(watched: Watched) -> None:
    seen = watched()
    seen.set("control", "proofs|unreachable", "refused")
    assert wrong(seen) == [("answer", None, "control: engines could not be asked: refused")]


def test_a_host_that_is_away_is_named_and_the_others_are_judged(watched: Watched) -> None:
    seen = watched()
    seen.lose("compute0", "no route")
    assert wrong(seen) == [("reach", False, "compute0 (192.0.2.99) cannot be reached: no route")]
    seen.lose("control", "timed out")
    assert [(name, ok) for name, ok, _ in wrong(seen)] == [("reach", False), ("reach", False), ("topology", None)]


@pytest.mark.parametrize("dead", ["", "missed heartbeats"])
def test_why_ray_lost_a_node_is_told(watched: Watched, dead: str) -> None:
    seen = watched()
    seen.set("control", "nodes|nodes|2|alive", False)
    seen.set("control", "nodes|nodes|2|why_dead", dead)
    (found,) = wrong(seen)
    assert found[2].endswith(f"which Ray calls dead: {dead}" if dead else "missing from Ray's nodes")


@pytest.mark.parametrize("name", ["stray", "compute0", ""])
def test_a_node_too_many_is_named(watched: Watched, name: str) -> None:
    seen = watched()
    seen.facts("control")["nodes"]["nodes"].append({**STRAY, "name": name})
    detail = f"{name or 'a node'} (192.0.2.66): in Ray and not in the inventory"
    assert wrong(seen) == [("topology", False, detail)]


def test_an_engine_that_is_silent_is_named(watched: Watched) -> None:
    seen = watched()
    del seen.facts("control")["proofs"]["proofs"][1]
    assert wrong(seen) == [("answer", False, "compute1: no engine answers there")]


def test_one_engine_over_two_nodes_answers_from_one(watched: Watched) -> None:
    seen = watched(**SPAN)
    control = seen.cluster.control.name
    seen.facts(control)["proofs"]["proofs"][:] = [
        {**ANSWER, "node": "compute0", "address": "192.0.2.11", "model": "smollm2-135m-instruct"}
    ]
    assert wrong(seen) == []
    seen.facts(control)["proofs"]["proofs"].clear()
    assert [detail for _, _, detail in wrong(seen)] == [
        "compute0: no engine answers there",
        "compute1: no engine answers there",
    ]


@pytest.mark.parametrize(("managed", "remedy"), [(True, "systemctl restart cluster-ray-worker"), (False, "down`")])
def test_a_wrong_engine_is_restarted_the_way_its_node_has(watched: Watched, managed: bool, remedy: str) -> None:
    seen = watched(managed=managed)
    seen.set("control", "proofs|proofs|0|correct", False)
    (check,) = [check for check in judge(seen.cluster, seen.found) if check.ok is False]
    assert remedy in check.remedy


def test_what_serve_said_of_its_failure_is_told(watched: Watched) -> None:
    seen = watched()
    seen.set("control", "serve", {"status": "DEPLOY_FAILED", "message": "out of\nmemory", "applications": {}})
    assert "Serve says DEPLOY_FAILED of smollm2-135m-instruct: out of memory" in wrong(seen)[0][2]


def test_a_secret_that_this_machine_lost_is_no_match(watched: Watched) -> None:
    seen = watched()
    for local in seen.cluster.control.settings.secrets.values():
        Path(local).unlink()
    assert wrong(seen)
    assert all("is not this machine's copy" in detail for _, _, detail in wrong(seen))
