"""The running lab judged a second, independent way: testinfra over SSH, Ray's own command line, the kernel's tables.

Nothing of operate/verification, facts/ or deploys/ is used here. What is expected comes from the lab's description.
Run it against a lab that is up: CLUSTER_TEST_HOME=~/.local/state/cluster pytest tests/live
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from experiments.operated_lab import Lab

testinfra = pytest.importorskip("testinfra")
pytestmark = pytest.mark.lab

RAY_ENVIRONMENT = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/cluster/ray-token"


@pytest.fixture(scope="module")
def addresses(lab: Lab) -> dict[str, str]:
    """Host name -> address, as the lab was made."""
    state = json.loads((lab.home / "lab" / "lab.json").read_text())
    return {host["name"]: host["address"] for host in state["hosts"]}


@pytest.fixture(scope="module")
def hosts(lab: Lab, addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Host name -> testinfra host, with sudo."""
    state = json.loads((lab.home / "lab" / "lab.json").read_text())
    configuration = tmp_path_factory.mktemp("ssh") / "config"
    configuration.write_text(
        f"Host *\n  User {state['login_user']}\n  IdentityFile {state['ssh_key']}\n"
        f"  UserKnownHostsFile {state['known_hosts']}\n  StrictHostKeyChecking yes\n"
        f"  ControlMaster auto\n  ControlPath {configuration.parent}/%C\n  ControlPersist 20\n"
    )
    return {
        name: testinfra.get_host(f"ssh://{address}?sudo=true&ssh_config={configuration}")
        for name, address in addresses.items()
    }


@pytest.fixture(scope="module")
def ray_nodes(hosts: dict[str, Any]) -> list[dict[str, Any]]:
    """Nodes as Ray's own command line lists them on the control host."""
    control = hosts["control"]
    ray = control.check_output("ls -d /opt/cluster/runtime/cpu-*/bin/ray")
    listed = control.run(
        f"runuser -u cluster -- env {RAY_ENVIRONMENT} {ray} list nodes "
        f"--address http://{_address(control)}:8265 --format json --detail"
    )
    assert listed.rc == 0, listed.stderr
    nodes: list[dict[str, Any]] = json.loads(listed.stdout[listed.stdout.index("[") :])
    return [node for node in nodes if node["state"] == "ALIVE"]


def _address(host: Any) -> str:
    return str(host.interface("eth0").addresses[0])


def test_ray_has_exactly_the_hosts_of_the_lab(ray_nodes: list[dict[str, Any]], addresses: dict[str, str]) -> None:
    assert sorted((node["node_name"], node["node_ip"]) for node in ray_nodes) == sorted(addresses.items())


def test_the_head_offers_no_cpu_and_no_gpu(ray_nodes: list[dict[str, Any]]) -> None:
    head = next(node for node in ray_nodes if node["node_name"] == "control")
    assert head["is_head_node"] is True
    assert "CPU" not in head["resources_total"]
    assert "GPU" not in head["resources_total"]


def test_each_worker_is_connected_to_the_heads_control_store(hosts: dict[str, Any], addresses: dict[str, str]) -> None:
    connected = set(
        re.findall(
            r"(10\.77\.0\.\d+):\d+\s*$", hosts["control"].check_output("ss -Htn state established sport = :6379"), re.M
        )
    )
    connected |= set(
        re.findall(r"(10\.77\.0\.\d+)\]?:\d+", hosts["control"].check_output("ss -Htn state established sport = :6379"))
    )
    for name, address in addresses.items():
        assert address in connected, (name, connected)


def test_services_are_units_that_run_and_start_at_boot(hosts: dict[str, Any]) -> None:
    expected = {"control": ("cluster-ray-head", "cluster-serve", "cluster-depot", "cluster-firewall")}
    for name, host in hosts.items():
        for unit in expected.get(name, ("cluster-ray-worker", "cluster-firewall")):
            service = host.service(unit)
            assert service.is_running, (name, unit)
            assert service.is_enabled, (name, unit)


def test_daemons_run_as_the_service_user(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        assert {process.user for process in host.process.filter(comm="raylet")} == {"cluster"}, name


def test_the_model_is_on_engine_hosts_and_loaded_nowhere_else(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        engines = host.run("pgrep -f '^VLLM::'").stdout.split()
        assert bool(engines) == name.startswith("compute"), (name, engines)


def test_own_names_resolve_to_cluster_addresses(hosts: dict[str, Any], addresses: dict[str, str]) -> None:
    for name, host in hosts.items():
        assert host.check_output("hostname") == name
        assert host.check_output(f"getent ahostsv4 {name}").split()[0] == addresses[name]


def test_compute_node_is_an_alias_of_loopback_on_compute_hosts_only(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        found = host.run("getent hosts compute-node").stdout
        assert ("127.0.0.1" in found) == name.startswith("compute"), (name, found)


def test_secrets_are_for_the_service_user_alone(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        token = host.file("/etc/cluster/ray-token")
        assert (token.mode, token.user) == (0o400, "cluster"), name


def test_rays_ports_are_closed_to_strangers(hosts: dict[str, Any]) -> None:
    """From the operator's side of the network, which is no peer: SSH and the API answer, Ray's ports do not."""
    import socket

    def opens(address: str, port: int) -> bool:
        try:
            with socket.create_connection((address, port), timeout=1.5):
                return True
        except OSError:
            return False

    assert opens("10.77.0.1", 22)
    assert opens("10.77.0.1", 8000)
    for port in (6379, 6381, 6500, 8265, 8730, 10001):
        assert not opens("10.77.0.1", port), port
    for port in (6381, 6500, 6501, 20001):
        assert not opens("10.77.0.11", port), port


def test_ray_refuses_a_caller_without_the_token(hosts: dict[str, Any]) -> None:
    refused = hosts["compute0"].run(
        "python3 -c 'import urllib.request as u; u.urlopen(\"http://10.77.0.1:8265/api/v0/nodes\", timeout=5)'"
    )
    assert refused.rc != 0
    assert "401" in refused.stderr or "403" in refused.stderr, refused.stderr


def test_limits_and_shared_memory(hosts: dict[str, Any]) -> None:
    for name, host in hosts.items():
        assert int(host.check_output("df -B1 --output=size /dev/shm | tail -n 1")) >= 100_000_000, name
        assert host.file("/etc/security/limits.d/60-cluster.conf").contains("65535"), name
