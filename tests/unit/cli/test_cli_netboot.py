"""`cluster netboot` before it reaches a host: bad input is refused in one line with exit 2, and keys are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from operate import netboot, power_on, preflight
from operate.clusters import Host, read
from operate.phases import Phases
from operate.runner import Observation
from tests.conftest import Typed


def write(home: Path, text: str) -> None:
    (home / "v0_1").mkdir(parents=True)
    (home / "v0_1" / "machines.yaml").write_text(text)


def test_cluster_without_network_boot_says_how_to_have_it(typed: Typed) -> None:
    status, _, said = typed("-c", "laptop", "netboot", "status")
    assert status == 2
    assert said.splitlines()[-1].startswith("cluster: laptop declares no network boot")


def test_without_a_card_it_says_where_to_write_it(typed: Typed) -> None:
    status, _, err = typed("-c", "v0_1", "netboot", "serve")
    assert status == 2
    said = " ".join(err.split())
    assert "no MAC address of any node is known" in said and "machines.yaml" in said


@pytest.mark.parametrize(
    ("machines", "arguments", "said"),
    [
        ("compute0: 52:54:00:00:00:01\ncompute1: 52:54:00:00:00:01\n", ("status",), "both have the MAC address"),
        ("compute0: nonsense\n", ("serve",), "is not six pairs"),
        ("compute0: 52:54:00:00:00:01\n", ("use", "x", "--node", "compute1"), "compute1 does not boot from"),
        ("compute0: 52:54:00:00:00:01\n", ("push", "none-0123456789abcdef"), "image none-0123456789abcdef:"),
        ("compute0: 52:54:00:00:00:01\n", ("push", "/"), "image ''"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    typed: Typed, home: Path, machines: str, arguments: tuple[str, ...], said: str
) -> None:
    write(home, machines)
    status, out, err = typed("-c", "v0_1", "netboot", *arguments)
    assert (status, out) == (2, ""), err
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_pinned_key_replaces_the_one_of_that_address_alone(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("192.0.2.9 ssh-ed25519 OTHER\n192.0.2.1,compute0 ssh-ed25519 OLD\ncompute0 ssh-rsa OLDER\n")
    assert netboot._pin(file, ["192.0.2.1", "compute0"], "ssh-ed25519 NEW")
    assert file.read_text() == "192.0.2.9 ssh-ed25519 OTHER\n192.0.2.1,compute0 ssh-ed25519 NEW\n"
    assert not netboot._pin(file, ["192.0.2.1", "compute0"], "ssh-ed25519 NEW")
    assert oct(file.stat().st_mode & 0o777) == "0o600"


def test_node_without_room_for_the_runtime_is_told_what_helps_there(home: Path) -> None:
    write(home, "compute0: 52:54:00:00:00:01\n")
    facts = {"disk": {"free_bytes": 2 * 1024**3, "mount_point": "/"}, "runtime": {"complete": False}}
    seen = Observation(connected=True, error="", facts=facts, errors={}, times={})
    hosts: dict[str, Host] = {host.name: host for host in read("v0_1").hosts}
    remedies = {}
    for name in ("compute0", "compute1"):
        (check,) = preflight.disk_checks(hosts[name], seen)
        assert check.ok is False
        remedies[name] = check.remedy
    assert "labelled cluster-local" in remedies["compute0"], "its root is in memory"
    assert remedies["compute1"] == "free some on compute1", "it boots from its own disk"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({}, "never asked for its root"),
        ({"last": None}, "never asked for its root"),
        ({"last": {"event": "refused", "image": "none-1"}}, "last said `refused` of none-1, and ssh says no route"),
    ],
)
def test_a_node_that_stays_away_is_named_with_its_last_words(node: dict[str, object], said: str) -> None:
    assert said in netboot._last_words(node, "no route")


class Told:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.notes.append(text)

    note = phase

    def event(self, kind: str, text: str) -> None:
        self.notes.append(text)


def test_who_is_away_and_cannot_be_woken_is_named_with_its_card(home: Path) -> None:
    write(home, "compute0: 52:54:00:00:00:01\ncompute1: {mac_address: 52:54:00:00:00:02, wake_on_lan: false}\n")
    cluster = read("v0_1")
    told = Told()
    away = netboot.booted_hosts(cluster, ("compute1",))
    assert power_on._wake(cluster, away, Phases(told)) == 0
    assert told.notes == ["switch on compute1 (52:54:00:00:00:02): no Wake-on-LAN is declared for it"]
    assert power_on._wake(cluster, (), Phases(told)) == 0 and len(told.notes) == 1
