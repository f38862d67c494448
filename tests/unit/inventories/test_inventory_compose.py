"""compose(): what it refuses, with the thing, the value and the fix, and what it makes of a good profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hardware.catalog.h200 import H200
from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.lab import lab
from hardware.laptop import CLUSTER as LAPTOP
from hardware.model import Cluster, Node, ProfileError
from inventories.composition.compose import Gateway, Group, Serving, Site, compose
from inventories.composition.operator import cluster_directory

ADDRESSES = {"control": "192.0.2.1", "compute0": "192.0.2.10", "compute1": "192.0.2.11"}
SMALL = "smollm2-135m-instruct"


def made(
    cluster: Cluster | None = None, addresses: Mapping[str, str] = ADDRESSES, **serving: Any
) -> tuple[Group, Group]:
    return compose(
        cluster or lab(2),
        addresses=addresses,
        serving=Serving(**{"model": SMALL, **serving}),
        site=Site(login_user="admin"),
    )


def h200_pair(count: int) -> Cluster:
    def node(name: str, accelerators: int) -> Node:
        return Node(
            name=name,
            role="compute" if accelerators else "control",
            board="server",
            cluster_interface="eth0",
            accelerators=(H200,) * accelerators,
        )

    computes = (node("compute0", count), node("compute1", count))
    return Cluster(name="h200_pair", version="1.0", control=node("control", 0), compute=computes)


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "missing address": (
        {"addresses": {"control": "192.0.2.1", "compute0": "192.0.2.10"}},
        ("inventory lab", "compute1", "add it to the address plan"),
    ),
    "bad address": (
        {"addresses": {**ADDRESSES, "compute1": "192.0.2.256"}},
        ("inventory lab", "compute1", "192.0.2.256", "write it as"),
    ),
    "host name as address": (
        {"addresses": {**ADDRESSES, "compute1": "compute1.example"}},
        ("compute1", "compute1.example", "write it as"),
    ),
    "duplicate address": (
        {"addresses": {**ADDRESSES, "compute1": "192.0.2.10"}},
        ("inventory lab", "192.0.2.10", "each needs its own address"),
    ),
    "unknown model": ({"model": "gpt-9"}, ("gpt-9", SMALL, "inventories/models")),
    "too many replicas": ({"replicas": 3}, ("inventory lab", "3 replicas", "2 compute nodes", "give 1 to 2")),
    "replicas below one": ({"replicas": -1}, ("inventory lab", "-1 replicas", "give 1 to 2")),
    "span on CPUs": ({"mode": "span"}, ("inventory lab", "GPUs only", "use mode replicas")),
    "heads not divisible": (
        {"cluster": h200_pair(1), "mode": "span", "span_by": "tensor"},
        ("inventory h200_pair", SMALL, "9 attention heads", "2-way", "span by pipeline"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_thing_the_value_and_the_fix(home: Path, case: str) -> None:
    arguments, said = REFUSED[case]
    with pytest.raises(ProfileError) as raised:
        made(**arguments)
    for part in said:
        assert part in str(raised.value)


def test_nodes_with_different_numbers_of_accelerators_are_refused(home: Path) -> None:
    pair = h200_pair(1)
    odd = Cluster(name="odd", version="1.0", control=pair.control, compute=(pair.compute[0], h200_pair(2).compute[1]))
    with pytest.raises(ProfileError, match=r"inventory odd: .*different numbers of accelerators"):
        made(odd)


def test_a_cluster_name_that_would_leave_its_directory_is_refused(home: Path) -> None:
    with pytest.raises(ProfileError, match=r"'\.\./other' cannot name a directory; use letters"):
        cluster_directory("../other")


def test_one_control_node_and_the_compute_nodes_in_their_order(home: Path) -> None:
    control, compute = made()
    assert [name for name, _ in control] == ["control"]
    assert [name for name, _ in compute] == ["compute0", "compute1"]
    for name, data in [*control, *compute]:
        assert data["settings"]["node"] == name
        assert data["settings"]["network"]["address"] == ADDRESSES[name]
        assert data["settings"]["network"]["peers"] == ADDRESSES
        assert json.loads(json.dumps(data)) == data, "host data is plain data"


def test_the_head_offers_no_cpus_and_no_gpus(home: Path) -> None:
    control, compute = made(GEFORCE_PAIR)
    head = control[0][1]["settings"]["ray"]
    assert (head["cpus"], head["gpus"], head["engine_slots"]) == (0, 0, 0)
    assert [data["settings"]["ray"]["gpus"] for _, data in compute] == [1, 1]


def test_fewer_replicas_than_nodes_leave_the_last_nodes_without_an_engine(home: Path) -> None:
    _, compute = made(replicas=1)
    assert [data["settings"]["ray"]["engine_slots"] for _, data in compute] == [1, 0]


@pytest.mark.parametrize(
    ("accelerators", "serving", "tensor", "pipeline", "replicas", "experts"),
    [
        (4, {"model": "qwen3-30b-a3b"}, 4, 1, 2, True),
        (1, {"model": "qwen3-30b-a3b"}, 1, 1, 2, False),
        (4, {"model": "mistral-small-instruct-2409-awq"}, 4, 1, 2, False),
        (4, {"model": "mistral-small-instruct-2409-awq", "mode": "span"}, 4, 2, 1, False),
        (4, {"model": "qwen3-30b-a3b", "mode": "span", "span_by": "tensor"}, 8, 1, 1, True),
    ],
)
def test_parallelism(
    home: Path,
    accelerators: int,
    serving: dict[str, Any],
    tensor: int,
    pipeline: int,
    replicas: int,
    experts: bool,
) -> None:
    _, compute = made(h200_pair(accelerators), **serving)
    plan = compute[0][1]["settings"]["applications"][0]["serving"]
    assert (plan["tensor_parallel"], plan["pipeline_parallel"], plan["replicas"]) == (tensor, pipeline, replicas)
    # Expert parallelism has nothing to place in a dense model, and nowhere to place it with one rank.
    assert plan["expert_parallel"] is experts


def test_several_models_each_with_its_nodes(home: Path) -> None:
    control, compute = compose(
        lab(2),
        addresses=ADDRESSES,
        serving=(Serving(SMALL, gateway=Gateway(requests_per_minute=5)), Serving("flan-t5-small", dtype="float32")),
        site=Site(login_user="admin"),
    )
    settings = control[0][1]["settings"]
    served = {entry["model"]["name"]: entry["nodes"] for entry in settings["applications"]}
    assert served == {SMALL: ["compute0"], "flan-t5-small": ["compute1"]}
    assert settings["gateway"]["requests_per_minute"] == 5
    assert [data["settings"]["fit"]["model"] for _, data in compute] == [SMALL, "flan-t5-small"]
    assert [data["settings"]["ray"]["engine_slots"] for _, data in compute] == [1, 1]
    for refused, said in (
        (Serving("flan-t5-small", api_port=9000), "flan-t5-small has api_port or gateway"),
        (Serving(SMALL), f"model {SMALL} in more than one Serving"),
    ):
        with pytest.raises(ProfileError, match=said):
            compose(lab(2), addresses=ADDRESSES, serving=(Serving(SMALL), refused), site=Site(login_user="admin"))
    with pytest.raises(ProfileError, match="no model is served"):
        compose(lab(2), addresses=ADDRESSES, serving=(), site=Site(login_user="admin"))


def test_nodes_that_share_a_machine_share_no_port_but_the_heads(home: Path) -> None:
    groups = compose(
        LAPTOP,
        addresses={"head": "127.0.0.10", "worker1": "127.0.0.11", "worker2": "127.0.0.12"},
        serving=Serving(model=SMALL),
        site=Site(login_user="admin", service_manager="supervisor", connector="loopback"),
    )
    hosts = [data["settings"] for group in groups for _, data in group]
    of_the_head = ("gcs", "dashboard", "client", "watch")
    used: list[int] = []
    for host in hosts:
        ports = dict(host["ray"]["ports"])
        for block in ("worker", "engine", "node_manager"):
            used += range(ports.pop(f"{block}_first"), ports.pop(f"{block}_last") + 1)
        used += [port for name, port in ports.items() if name not in of_the_head]
    assert len(used) == len(set(used))
    assert max(used) < 32768, "Linux hands the ports from 32768 on to clients"
    assert len({host["directories"]["state"] for host in hosts}) == 3
