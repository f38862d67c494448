"""Hosts behind their control node: the SSH files are made when somebody connects, by pyinfra or by ssh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inventories.composition import ssh_files
from inventories.composition.operator import write_whole
from operate import clusters
from operate.errors import OperatorError
from operate.ssh import ssh_command
from tests.conftest import Typed

# Nothing listens for SSH there, on port 1.
INVENTORY = """
from hardware.geforce_pair import CLUSTER
from inventories.composition.compose import Serving, Site, compose
from inventories.composition.jump import connections

_addresses = {{node.name: f"127.0.0.{{index + 77}}" for index, node in enumerate(CLUSTER.nodes)}}
control, compute = compose(
    CLUSTER,
    addresses=_addresses,
    serving=Serving(model="smollm2-135m-instruct", dtype="float16"),
    site=Site(
        login_user="nobody",
        connection={{
            **connections(
                CLUSTER, addresses=_addresses, login_user="nobody", control_host="127.0.0.76", known_hosts={known!r}
            ),
            "ssh_port": 1,
        }},
    ),
)
"""


def inventory(place: Path, known_hosts: str = "") -> str:
    file = place / "mine.py"
    file.write_text(INVENTORY.format(known=known_hosts))
    return str(file)


def control(place: Path, known_hosts: str = "") -> clusters.Host:
    return clusters.read(inventory(place, known_hosts)).control


def test_pyinfra_finds_the_files_when_it_connects(typed: Typed, home: Path, tmp_path: Path) -> None:
    wanted = control(tmp_path)
    assert wanted.target == f"@jump/{wanted.name}"
    assert not home.exists(), "reading the inventory writes nothing"
    status, out, _ = typed("-c", inventory(tmp_path), "doctor", "--json")
    assert status == 1
    said = json.loads(out)["checks"][0]["detail"]
    assert "cannot be reached" in said and "127.0.0.76" in said, "by the address that the configuration gives"
    directory = home / "geforce_pair"
    assert sorted(path.name for path in directory.iterdir()) == ["known_hosts", "ssh_config"]
    assert (directory / "ssh_config").read_text() == wanted.data[ssh_files.CONFIGURATION]


def test_pyinfra_says_that_the_files_cannot_be_written(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_HOME", "/proc/nothing")
    status, out, _ = typed("-c", inventory(tmp_path), "doctor", "--json")
    assert status == 1
    assert "set CLUSTER_HOME to a directory that you can write to" in json.loads(out)["checks"][0]["detail"]


def test_ssh_finds_the_files_that_its_command_line_names(home: Path, tmp_path: Path) -> None:
    command = ssh_command(control(tmp_path))
    named = Path(command[command.index("-F") + 1])
    assert named.is_file() and named.is_relative_to(home)
    assert f"UserKnownHostsFile={named.parent / 'known_hosts'}" in command


def test_ssh_says_that_the_files_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_HOME", "/proc/nothing")
    with pytest.raises(OperatorError, match=r"/proc/nothing.*; set CLUSTER_HOME"):
        ssh_command(control(tmp_path))


def test_a_changed_configuration_is_written_and_keys_stay(home: Path, tmp_path: Path) -> None:
    data: dict[str, Any] = dict(control(tmp_path).data)
    ssh_files.make(data)
    known = Path(data["ssh_known_hosts_file"])
    known.write_text("a key\n")
    ssh_files.make({**data, ssh_files.CONFIGURATION: "Host other\n"})
    assert Path(data["ssh_config_file"]).read_text() == "Host other\n"
    assert known.read_text() == "a key\n"


def test_the_operators_own_list_of_host_keys_is_not_made(home: Path, tmp_path: Path) -> None:
    data = control(tmp_path, str(tmp_path / "my_known_hosts")).data
    ssh_files.make(data)
    assert data["ssh_strict_host_key_checking"] == "yes"
    assert not (tmp_path / "my_known_hosts").exists()


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "place", "a text")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
