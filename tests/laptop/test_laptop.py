"""The default cluster, for real: a Ray head and two workers on loopback, vLLM, SmolLM2. No root needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploys.stages import LAST_STAGE, STAGES
from facts.sources import REPOSITORY
from tests.laptop.conftest import Operator, operator_at

pytestmark = pytest.mark.cluster


def test_up_ends_with_a_correct_answer_and_the_node_that_gave_it(laptop: Operator) -> None:
    again = laptop.cluster("up", "--json")
    assert again.status == 0, again.stderr
    assert "Paris" in again.json["answer"]
    assert again.json["node"] in ("worker1", "worker2")
    assert again.json["changed"] == 0
    assert again.json["checks"] > 0
    assert [entry["phase"] for entry in again.json["phases"]] == ["look", *STAGES, LAST_STAGE, "verify", "token"]
    kept = [json.loads(line) for line in (laptop.home / "laptop" / "ups.jsonl").read_text().splitlines()]
    assert kept[-1]["phases"] == again.json["phases"] and kept[0]["ok"]


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
    assert "recommended_dtype" in told.stdout


def test_the_api_listens_on_loopback_alone(laptop: Operator) -> None:
    listening = subprocess.run(
        ["ss", "-Hltn", "sport", "=", ":8000"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[3] for line in listening.splitlines()] == ["127.0.0.10:8000"]


def test_a_second_cluster_on_this_machine_is_refused(laptop: Operator, tmp_path: Path) -> None:
    other = operator_at(tmp_path / "other")
    done = other.cluster("up")
    assert done.status == 2
    assert "is taken by" in done.complaint
    assert "cluster -c NAME down" in done.complaint
    assert laptop.cluster("verify").status == 0


def test_two_people_at_once(laptop: Operator) -> None:
    command = [str(Path(sys.executable).parent / "cluster"), "up", "--json"]
    first = subprocess.Popen(
        command, cwd=REPOSITORY, env=laptop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    lock = laptop.home / "laptop" / "lock"
    while not lock.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = laptop.cluster("up")
    assert second.status == 2
    assert f"process {first.pid}" in second.complaint
    first.communicate(timeout=300)
    assert first.returncode == 0


def test_a_killed_worker_is_named_and_comes_back(laptop: Operator) -> None:
    """The raylet of one node is killed; its supervisor starts the node again, and the engine proves itself anew."""
    found = subprocess.run(
        ["pgrep", "-f", "raylet.*--node_ip_address=127.0.0.12"], capture_output=True, text=True
    ).stdout
    assert found.split()
    for pid in found.split():
        os.kill(int(pid), signal.SIGKILL)
    done = laptop.cluster("verify", "--json")
    assert done.status == 1
    assert any(check["ok"] is False and check["detail"].startswith("worker2") for check in done.json["checks"])
    deadline = time.monotonic() + 300
    while laptop.cluster("verify").status != 0:
        assert time.monotonic() < deadline
