"""The default cluster, for real: a Ray head and two workers on loopback, vLLM, SmolLM2. No root needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploys.stages import LAST_STAGE, STAGES
from experiments.operated_lab import Done
from facts.sources import REPOSITORY
from operate import clusters
from tests.laptop.conftest import PROXIES, Operator, operator_at, serves, wait_until

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Again:
    """`up` again, in a shell whose proxies answer nobody, its process, and another person's `up` meanwhile."""

    first: Done
    process: int
    second: Done


@pytest.fixture(scope="module")
def again(laptop: Operator) -> Again:
    """The one `up` of these tests on the cluster that is up."""
    first = subprocess.Popen(
        [str(Path(sys.executable).parent / "cluster"), "up", "--json"],
        cwd=REPOSITORY,
        env={**laptop.environment, **PROXIES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lock = laptop.home / "laptop" / "lock"
    wait_until(lambda: bool(lock.read_text()), 60)
    second = laptop.cluster("up")
    stdout, stderr = first.communicate(timeout=300)
    return Again(Done(first.returncode, stdout, stderr), first.pid, second)


def test_up_ends_with_a_correct_answer_and_the_node_that_gave_it(laptop: Operator, again: Again) -> None:
    done = again.first
    assert done.status == 0, done.stderr
    assert "Paris" in done.json["answer"]
    assert done.json["node"] in ("worker1", "worker2")
    assert done.json["changed"] == 0
    assert done.json["checks"] > 0
    assert [entry["phase"] for entry in done.json["phases"]] == ["look", *STAGES, LAST_STAGE, "verify", "token"]
    kept = [json.loads(line) for line in (laptop.home / "laptop" / "ups.jsonl").read_text().splitlines()]
    assert kept[-1]["phases"] == done.json["phases"] and kept[0]["ok"]


def test_another_person_is_told_who_is_at_work(again: Again) -> None:
    assert again.second.status == 2
    assert f"process {again.process}" in again.second.complaint


def test_verify_holds_and_the_head_loads_no_model(laptop: Operator) -> None:
    done = laptop.cluster("verify", "--json")
    assert done.status == 0, done.stdout
    details = [check["detail"] for check in done.json["checks"]]
    assert any(detail.startswith("head: no model") for detail in details)
    assert sum("answered 'The capital of France is Paris.'" in detail for detail in details) == 2


def test_facts_work_alone(laptop: Operator) -> None:
    told = subprocess.run(
        [
            str(Path(sys.executable).parent / "pyinfra"),
            "--json",
            "inventories/laptop.py",
            "fact",
            "facts.ray.Nodes",
            "facts.cpu.Cpu",
        ],
        cwd=REPOSITORY,
        env=laptop.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"worker2"' in told.stdout
    assert "decisive_flags" in told.stdout


def test_the_api_listens_on_loopback_alone(laptop: Operator) -> None:
    listening = subprocess.run(
        ["ss", "-Hltn", "sport", "=", ":8000"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[3] for line in listening.splitlines()] == ["127.0.0.10:8000"]


def test_every_listening_socket_is_declared_or_on_loopback(laptop: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own daemons bind every address and ask for the token there; nothing else does."""
    monkeypatch.setenv("CLUSTER_HOME", str(laptop.home))
    cluster = clusters.read("laptop")
    everywhere: set[int] = set()
    for host in cluster.hosts:
        ports = host.settings.ray.ports
        everywhere |= {ports.gcs, ports.object_manager, ports.agent_grpc}
        everywhere |= {*range(ports.node_manager_first, ports.node_manager_last + 1)}
        everywhere |= {*range(ports.worker_first, ports.worker_last + 1)}
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    found, ours = {}, 0
    for line in listening.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        process = re.search(r"pid=(\d+)", line)
        if not process or b"CLUSTER_" not in environ(int(process[1])):
            continue
        ours += 1
        loopback = address.strip("[]").removeprefix("::ffff:").startswith("127.")
        if not loopback and int(port) not in everywhere:
            found[int(port)] = line
    assert ours > 20, listening
    assert not found, "\n".join(found.values())


def environ(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def test_a_second_cluster_on_this_machine_is_refused(laptop: Operator, tmp_path: Path) -> None:
    other = operator_at(tmp_path / "other")
    done = other.cluster("up")
    assert done.status == 2
    assert "is taken by" in done.complaint
    assert "cluster -c NAME down" in done.complaint
    assert serves("worker1") and serves("worker2")
