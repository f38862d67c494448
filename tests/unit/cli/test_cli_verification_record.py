"""What `cluster verify` leaves for the web page: that the service takes it, whole, and how it gets to a host."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from deploys.watch.declared import verify_path
from deploys.watch.programs.watch_state import verify_record
from facts.health.result import CheckResult
from operate import clusters
from operate.clusters import ClusterInventory
from operate.verification.record import FAILURES, leave, record

HOLDS = CheckResult("service", True, "head: cluster-ray-head runs as declared")
WRONG = CheckResult("answer", False, "worker1: no right answer", "restart it")
UNKNOWN = CheckResult("nodes", None, "head: nodes could not be read")


@pytest.fixture
def laptop(home: Path) -> ClusterInventory:
    """The laptop's inventory, with the control node's state directory in the test's own."""
    cluster = clusters.read("laptop")
    Path(cluster.control.settings.directories.state).mkdir(parents=True)
    return cluster


def test_failures_first_then_what_could_not_be_told() -> None:
    found = record([HOLDS, UNKNOWN, WRONG], ok=False, seconds=9.1)
    assert (found["ok"], found["checks"], found["seconds"]) == (False, 3, 9.1)
    assert [entry["ok"] for entry in found["failures"]] == [False, None]
    assert found["failures"][0] == {
        "name": "answer",
        "ok": False,
        "detail": "worker1: no right answer",
        "remedy": "restart it",
    }


def test_it_is_never_larger_than_the_service_reads() -> None:
    long = CheckResult("answer", False, "x" * 5000, "y" * 5000)
    found = record([long] * 1000, ok=False, seconds=1.0)
    assert (found["checks"], len(found["failures"])) == (1000, FAILURES)
    assert len(json.dumps(found)) < 512 * 1024
    assert verify_record(found) == found


@pytest.mark.parametrize("ok", [True, False, None])
def test_the_service_takes_what_is_left(laptop: ClusterInventory, ok: bool | None) -> None:
    found = record([HOLDS] if ok else [HOLDS, WRONG, UNKNOWN], ok=ok, seconds=2.5)
    assert leave(laptop, found) == ""
    path = Path(verify_path(laptop.control.settings))
    assert verify_record(json.loads(path.read_text())) == found
    assert [entry.name for entry in path.parent.iterdir()] == ["verify.json"], "nothing is left beside it"
    assert leave(laptop, {**found, "checks": 7}) == ""
    assert json.loads(path.read_text())["checks"] == 7


def test_a_cluster_that_was_never_up_has_no_place_for_it(home: Path) -> None:
    cluster = clusters.read("laptop")
    problem = leave(cluster, record([HOLDS], ok=True, seconds=1.0))
    assert "No such file" in problem
    assert not Path(cluster.control.settings.directories.state).exists()


@pytest.fixture
def remote(laptop: ClusterInventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterInventory:
    """A managed host behind programs in the place of ssh, sudo and runuser: each notes its arguments and goes on."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, goes_on in (
        ("ssh", 'for last; do :; done; exec sh -c "$last"'),
        ("sudo", 'shift; exec "$@"'),
        ("runuser", 'shift 3; exec "$@"'),
    ):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/said\n{goes_on}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    control = laptop.control
    managed = structs.replace(
        control.settings,
        system=structs.replace(control.settings.system, service_manager="systemd", service_user="cluster"),
    )
    host = replace(control, settings=managed, data={**control.data, "ssh_user": "admin", "_sudo": True})
    return replace(laptop, hosts=(host, *laptop.compute))


def test_over_ssh_it_is_written_as_the_service_user(remote: ClusterInventory, tmp_path: Path) -> None:
    found = record([WRONG], ok=False, seconds=1.0)
    assert leave(remote, found) == ""
    path = Path(verify_path(remote.control.settings))
    assert json.loads(path.read_text()) == found
    assert [entry.name for entry in path.parent.iterdir()] == ["verify.json"]
    said = (tmp_path / "said").read_text().splitlines()
    assert [line.split()[0] for line in said] == ["ssh", "sudo", "runuser"]
    assert said[2].startswith("runuser -u cluster -- sh -c")
    assert "no right answer" not in "".join(said), "the record goes through standard input"


def test_over_ssh_a_refusal_is_said(remote: ClusterInventory) -> None:
    path = Path(verify_path(remote.control.settings))
    path.parent.rmdir()
    problem = leave(remote, record([HOLDS], ok=True, seconds=1.0))
    assert problem.startswith("head: ") and "verify.json" in problem
