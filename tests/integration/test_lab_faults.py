"""Each fault is a real one, on a real host; verify has to exit 1 and name the culprit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploys.faults import commands
from experiments.operated_lab import Lab
from operate import clusters

pytestmark = pytest.mark.lab

Repair = Callable[[Callable[[], object]], None]


def _named(lab: Lab, host: str) -> list[str]:
    """Failures that verify names; asserts exit 1 and that some name `host`."""
    status, failures = lab.failures()
    assert status == 1, failures
    mine = [failure for failure in failures if failure.startswith(host)]
    assert mine, failures
    return mine


def test_a_killed_worker_is_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.run("lab", "fault", "join", "compute1"))
    lab.run("lab", "fault", "crash", "compute1")
    assert any("cannot be reached" in failure for failure in _named(lab, "compute1"))


def test_a_frozen_worker_is_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.run("lab", "fault", "thaw", "compute1"))
    lab.run("lab", "fault", "freeze", "compute1")
    assert any("cannot be reached" in failure for failure in _named(lab, "compute1"))


def test_a_worker_that_is_cut_off_is_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.run("lab", "fault", "join", "compute0"))
    lab.run("lab", "fault", "cut", "compute0")
    assert any("cannot be reached" in failure for failure in _named(lab, "compute0"))


def test_a_stopped_service_is_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.cluster("up"))
    lab.ssh("compute1", "systemctl stop cluster-ray-worker")
    failures = _named(lab, "compute1")
    assert any("cluster-ray-worker is not running" in failure for failure in failures)


def test_an_extra_ray_node_is_named(lab: Lab, healthy: Repair) -> None:
    """A second Ray on the control host, with the cluster's own token: a node that nobody declared."""
    healthy(lambda: lab.ssh("control", "systemctl stop stray-ray"))
    runtime = lab.ssh("control", "ls -d /opt/cluster/runtime/cpu-*/bin/ray").stdout.split()[0]
    started = lab.ssh(
        "control",
        "systemd-run --unit=stray-ray --uid=cluster -E RAY_AUTH_MODE=token "
        f"-E RAY_AUTH_TOKEN_PATH=/etc/cluster/ray-token {runtime} start --block --address=10.77.0.1:6379 "
        "--node-ip-address=10.77.0.1 --node-name=stray --num-cpus=0 "
        "--object-store-memory=80000000 --node-manager-port=7380 --object-manager-port=7381 "
        "--runtime-env-agent-port=7382 "
        "--dashboard-agent-grpc-port=7383 --dashboard-agent-listen-port=7385 --metrics-export-port=7384 "
        "--min-worker-port=7400 --max-worker-port=7420 --include-log-monitor=false --disable-usage-stats",
    )
    assert started.status == 0, started.stderr
    joined = lab.ssh("control", _wait_for_node("stray"))
    assert joined.status == 0, joined.stdout
    assert any("in Ray and not in the inventory" in failure for failure in _named(lab, "stray"))


def test_another_ray_version_on_one_node_is_named(lab: Lab, healthy: Repair) -> None:
    """One node's Ray says another version, to itself and to the head, which refuses it."""

    def repair() -> None:
        lab.ssh(
            "compute0",
            "systemctl stop cluster-ray-worker; "
            "umount /opt/cluster/runtime/cpu-*/lib/python3*/site-packages/ray/_version.py",
        )
        lab.ssh("compute0", "systemctl start cluster-ray-worker")

    healthy(repair)
    changed = lab.ssh(
        "compute0",
        "file=$(ls /opt/cluster/runtime/cpu-*/lib/python3*/site-packages/ray/_version.py); "
        "sed 's/^version = .*/version = \"2.59.1\"/' $file > /var/tmp/_version.py; "
        "mount --bind /var/tmp/_version.py $file && systemctl restart cluster-ray-worker",
    )
    assert changed.status == 0, changed.stderr
    assert any("Ray 2.59.1 instead of 2.60.0" in failure for failure in _named(lab, "compute0"))


def test_an_engine_that_talks_garbage_is_named_while_its_health_says_200(
    lab: Lab, healthy: Repair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled weights in a running engine: the API goes on answering, and one node answers nonsense."""
    healthy(lambda: lab.ssh("compute1", "systemctl restart cluster-ray-worker"))
    monkeypatch.setenv("CLUSTER_HOME", str(lab.home))
    control = clusters.read("lab").control.settings
    for host, command in (
        ("compute1", commands.make_garbage(control)),
        ("control", commands.scramble(control, "compute1")),
    ):
        done = lab.ssh(host, command.line, stdin=command.stdin)
        assert done.status == 0, done.stderr[-2000:]
    # Whoever only asks whether it is alive is told that all is well.
    assert lab.cluster("status", "--json").json["application"] == "RUNNING"
    alive = lab.ssh(
        "control",
        'python3 -c \'import urllib.request as u; key = open("/etc/cluster/api-key").read(); '
        'print(u.urlopen(u.Request("http://10.77.0.1:8000/v1/models", '
        'headers={"Authorization": "Bearer " + key})).status)\'',
    )
    assert "200" in alive.stdout, alive.stderr
    named = _named(lab, "compute1")
    assert any("gives no right answer" in failure for failure in named), named


def test_a_configuration_file_edited_by_hand_is_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.cluster("up"))
    lab.ssh("control", 'sed -i \'s/"max_model_len": 2048/"max_model_len": 1024/\' /etc/cluster/serve.json')
    assert any("/etc/cluster/serve.json differs" in failure for failure in _named(lab, "control"))


def _wait_for_node(name: str) -> str:
    """Shell text that ends when Ray calls the node alive, or after a minute."""
    return (
        f"for i in $(seq 120); do journalctl -u stray-ray --no-pager | grep -q 'Ray runtime started' && "
        f"sleep 1 && echo {name} joined && exit 0; sleep 0.5; done; "
        "journalctl -u stray-ray --no-pager | tail -5; exit 1"
    )
