"""`cluster netboot` before it reaches a host: bad input is refused in one line with exit 2, and keys are pinned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operate import netboot, preflight
from operate.clusters import Host, read
from operate.runner import Observation

REPOSITORY = Path(__file__).parents[3]


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "CLUSTER_HOME": str(home), "CLUSTER_CACHE": str(home / "cache"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(home: Path, text: str) -> None:
    (home / "v0_1").mkdir(parents=True)
    (home / "v0_1" / "machines.yaml").write_text(text)


def test_cluster_without_network_boot_says_how_to_have_it(home: Path) -> None:
    done = run(home, "-c", "laptop", "netboot", "status")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("cluster: laptop declares no network boot")


def test_without_a_card_it_says_where_to_write_it(home: Path) -> None:
    done = run(home, "-c", "v0_1", "netboot", "serve")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
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
def test_bad_input_is_refused_in_one_line(home: Path, machines: str, arguments: tuple[str, ...], said: str) -> None:
    write(home, machines)
    done = run(home, "-c", "v0_1", "netboot", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


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
