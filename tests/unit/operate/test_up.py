"""`cluster up` and `cluster doctor` as they are typed, with hosts that are not there; the way on after a failure.

`up` with hosts that are there is tested where there are some: tests/laptop, tests/integration.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facts.health.result import CheckResult
from operate.api import Answer
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS, OperatorError
from operate.up import refuse_unverified, refuse_wrong
from operate.verification.run import Verification
from tests.conftest import Typed
from tests.unit.operate.conftest import Watched

INVENTORY = """
from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

_addresses = {"head": "127.0.0.77", "worker1": "127.0.0.78", "worker2": "127.0.0.79"}
control, compute = compose(
    CLUSTER,
    addresses=_addresses,
    serving=Serving(model="smollm2-135m-instruct"),
    site=Site(login_user="nobody", connection={"ssh_user": "nobody", "ssh_port": 1, "ssh_config_file": "/dev/null"}),
    connections={name: {"ssh_hostname": address} for name, address in _addresses.items()},
)
"""


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    file = tmp_path / "mine.py"
    file.write_text(INVENTORY)
    return str(file)


def test_doctor_names_every_host_that_is_away(typed: Typed, inventory: str) -> None:
    status, out, _ = typed("-c", inventory, "doctor", "--json")
    checks = json.loads(out)["checks"]
    assert status == 1
    assert [(check["name"], check["ok"]) for check in checks] == [("reach", False)] * 3
    assert [check["detail"].split()[0] for check in checks] == ["head", "worker1", "worker2"]
    status, out, _ = typed("-c", inventory, "doctor")
    assert status == 1 and "worker2" in out and "switched on" in out


@pytest.mark.parametrize("only", [(), ("--only", "compute_base")])
def test_up_ends_before_it_changes_anything(typed: Typed, inventory: str, home: Path, only: tuple[str, ...]) -> None:
    status, out, err = typed("-c", inventory, "up", *only)
    assert (status, out) == (2, "")
    assert "cluster: head (127.0.0.77) cannot be reached" in err
    assert "goes on from there" not in err, "nothing was begun"
    assert not list(home.rglob("ups.jsonl"))


def test_a_part_that_there_is_not(typed: Typed, inventory: str) -> None:
    status, out, err = typed("-c", inventory, "up", "--only", "nonsense")
    assert (status, out) == (2, "") and "nonsense" in err


def test_what_boots_nothing_has_no_boot_part(typed: Typed, inventory: str) -> None:
    status, out, err = typed("-c", inventory, "up", "--only", "boot")
    assert (status, out) == (2, "") and "boot" in err


def test_verify_of_hosts_that_are_away(typed: Typed, inventory: str) -> None:
    status, out, _ = typed("-c", inventory, "verify", "--json")
    checks = json.loads(out)["checks"]
    assert status == 1
    assert [(check["name"], check["ok"]) for check in checks] == [("reach", False)] * 3 + [("topology", None)]


def test_powering_on_looks_at_the_control_node_first(typed: Typed, inventory: str, home: Path) -> None:
    machines = home / "mine" / "machines.yaml"
    machines.parent.mkdir(parents=True)
    machines.write_text("worker1: 52:54:00:00:00:01\nworker2: 52:54:00:00:00:02\n")
    place = Path(inventory)
    text = place.read_text().replace("site=Site(", "name='mine', site=Site(netboot=Netboot(), ")
    place.write_text(BOOTS + text.replace("    CLUSTER,\n", "    booting(CLUSTER),\n"))
    status, out, err = typed("-c", inventory, "up", "--only", "boot")
    assert (status, out) == (2, ""), err
    assert "cluster: head (127.0.0.77) cannot be reached" in err
    assert "worker1" not in err, "nodes that boot are not looked for before their boot server is there"


def test_what_does_not_verify_is_no_cluster_that_is_up(watched: Watched) -> None:
    cluster = watched().cluster
    refuse_unverified(cluster, Verification([CheckResult("ray", True, "three nodes")], HOLDS, 1.0))
    checks = [CheckResult("ray", True, "three nodes")]
    checks += [CheckResult("service", False, f"compute{at}: cluster-ray is not active") for at in range(4)]
    with pytest.raises(OperatorError) as refused:
        refuse_unverified(cluster, Verification(checks, DOES_NOT_HOLD, 1.0))
    assert refused.value.exit_code == DOES_NOT_HOLD
    said = str(refused.value)
    assert said.startswith("lab is up but does not verify: compute0: cluster-ray is not active; compute1")
    assert "compute3" not in said and "three nodes" not in said
    assert f"run `{cluster.command} verify`" in said
    unknown = Verification([CheckResult("topology", None, "control cannot be asked")], COULD_NOT_TELL, 1.0)
    with pytest.raises(OperatorError, match="control cannot be asked") as refused:
        refuse_unverified(cluster, unknown)
    assert refused.value.exit_code == COULD_NOT_TELL


def test_a_wrong_first_answer_names_the_node_that_gave_it(watched: Watched) -> None:
    cluster = watched().cluster
    answer = Answer("What is the capital of France?", "Lyon.", "compute1", "smollm2-135m-instruct", 0.5, 3)
    refuse_wrong(cluster, answer, True)
    with pytest.raises(OperatorError, match=r"compute1 answered 'Lyon\.' to .*, expected '.*Paris.*'") as refused:
        refuse_wrong(cluster, answer, False)
    assert refused.value.exit_code == DOES_NOT_HOLD


BOOTS = """
from dataclasses import replace

from hardware.model import NetworkBoot
from inventories.composition.netboot import Netboot


def booting(cluster):
    mac = "52:54:00:00:00:0%d"
    return replace(cluster, compute=tuple(
        replace(node, mac_address=mac % at, network_boot=NetworkBoot(network_drivers=("virtio_net",)))
        for at, node in enumerate(cluster.compute)))
"""
