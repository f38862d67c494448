"""Each fault is a real one, on a real host; verify has to exit 1 and name the culprit.

An engine that starts anew takes a minute or two: faults of one kind are there at once, on different hosts, and are
mended together. What each of many faults costs the clients is measured by benchmarks/faults_under_load.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploys.faults import commands
from experiments.operated_lab import Lab
from operate import clusters

pytestmark = pytest.mark.lab

Repair = Callable[[Callable[[], object]], None]


def _named(lab: Lab, **expected: str) -> None:
    """Verify exits 1 and names each host with what is expected of it, whatever else it finds."""
    status, failures = lab.failures()
    assert status == 1, failures
    for host, words in expected.items():
        mine = [failure for failure in failures if failure.startswith(host)]
        assert any(words in failure for failure in mine), (host, words, failures)


def test_hosts_without_power_and_hosts_that_hang_are_named(lab: Lab, healthy: Repair) -> None:
    healthy(lambda: lab.run("lab", "fault", "join", "compute1"))
    healthy(lambda: lab.run("lab", "fault", "thaw", "compute0"))
    lab.run("lab", "fault", "crash", "compute1")
    lab.run("lab", "fault", "freeze", "compute0")
    _named(lab, compute0="cannot be reached", compute1="cannot be reached")


def test_wrong_and_missing_and_extra_ray_nodes_are_named(lab: Lab, healthy: Repair) -> None:
    """A stopped service, a Ray of another version, which the head refuses, and a node that nobody declared."""

    def repair() -> None:
        lab.ssh("control", "systemctl stop stray-ray")
        lab.ssh("compute0", f"systemctl stop cluster-ray-worker; umount {_VERSION}")
        lab.ssh("compute0", "systemctl start cluster-ray-worker")
        assert lab.cluster("up").status == 0, "what is stopped is started"

    healthy(repair)
    lab.ssh("compute1", "systemctl stop cluster-ray-worker")
    changed = lab.ssh(
        "compute0",
        f"file=$(ls {_VERSION}); "
        "sed 's/^version = .*/version = \"2.59.1\"/' $file > /var/tmp/_version.py; "
        "mount --bind /var/tmp/_version.py $file && systemctl restart cluster-ray-worker",
    )
    assert changed.status == 0, changed.stderr
    _join_as_stray(lab)
    _named(
        lab,
        compute0="Ray 2.59.1 instead of 2.60.0",
        compute1="cluster-ray-worker is not running",
        stray="in Ray and not in the inventory",
    )


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
    _named(lab, compute1="gives no right answer")


_VERSION = "/opt/cluster/runtime/cpu-*/lib/python3*/site-packages/ray/_version.py"


def _join_as_stray(lab: Lab) -> None:
    """A second Ray on the control host, with the cluster's own token."""
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


def _wait_for_node(name: str) -> str:
    """Shell text that ends when Ray calls the node alive, or after a minute."""
    return (
        f"for i in $(seq 120); do journalctl -u stray-ray --no-pager | grep -q 'Ray runtime started' && "
        f"sleep 1 && echo {name} joined && exit 0; sleep 0.5; done; "
        "journalctl -u stray-ray --no-pager | tail -5; exit 1"
    )
