"""Kinds of host: what each decides for the deploys, for what is looked at first, and for what is verified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploys import hosts, roles
from deploys.settings import SettingsError


def test_a_host_whose_system_is_ours(composed: Any) -> None:
    control, node = (hosts.of(settings) for name, settings in composed().items() if name in ("control", "compute0"))
    assert (control.owner, control.administrator, control.service_user) == ("root", "root", "cluster")
    assert control.secrets_owner == "cluster" and control.as_service_user()[-2:] == ["cluster", "--"]
    assert control.firewall.startswith("rules_")
    facts = {"clock", "resolution", "own_resolution", "names", "way_in"}
    assert facts == set(control.ground_facts()) < set(node.ground_facts())
    assert control.machine != node.machine
    assert control.states(roles.services(control.settings)).keys() == {"names"}
    assert node.network_environment()["NCCL_SOCKET_IFNAME"] == f"={node.settings.network.interface}"
    assert node.tool_uv() == ""
    assert "cluster-local" not in node.more_space_remedy()


def test_a_node_in_the_operators_account(composed: Any) -> None:
    control, node, _ = (hosts.of(settings) for settings in composed(managed=False).values())
    assert (control.owner, control.administrator, control.service_user) == ("", "admin", "admin")
    assert control.secrets_owner == control.firewall == ""
    assert control.as_service_user() == []
    assert set(control.ground_facts()) == {"numa"}
    assert control.machine == node.machine
    assert control.states(roles.services(control.settings))["supervisor"].startswith(control.settings.directories.state)
    assert node.network_environment() == {}
    assert Path(node.tool_uv()).parent == Path(sys.executable).parent
    assert "CLUSTER_CACHE" in node.more_space_remedy()


def test_containers_are_left_to_their_engine(composed: Any) -> None:
    settings = composed(site={"service_manager": "compose", "shared_files": True})["control"]
    kind = hosts.of(settings)
    assert kind.service_files(*roles.services(settings)) == kind.files() == ()
    assert not [file for file in roles.managed_files(settings) if file.path.startswith("/etc/systemd")]
    with pytest.raises(SettingsError, match=r"control: a container engine runs its services.*containers\.md"):
        _ = kind.manager


def test_a_service_says_which_ports_it_listens_on(composed: Any) -> None:
    """Each port once on a host, whatever keeps it: two services could not both have it."""
    for managed in (True, False):
        for settings in composed(managed=managed).values():
            ports = [port for service in roles.services(settings) for port in service.ports]
            assert len(ports) == len(set(ports)) > 0


def test_what_describes_a_host_needs_no_pyinfra() -> None:
    """`cluster status` reads it, and pyinfra takes longer to load than that may take."""
    program = "import sys; from deploys import hosts, roles; sys.exit('pyinfra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
