"""What an inventory connects through is known to the host's firewall, and an address that cannot be is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploys.compute_base import firewall
from deploys.settings import Settings, SettingsError, parse
from hardware.geforce_pair import CLUSTER
from hardware.model import ProfileError, check_address
from inventories.composition.compose import Serving, Site, compose
from inventories.composition.jump import connections, site

NAMES = [node.name for node in CLUSTER.nodes]
ADDRESSES = {name: f"192.0.2.{index + 1}" for index, name in enumerate(NAMES)}


def composed(
    given: Site | Mapping[str, Any],
    addresses: Mapping[str, str] = ADDRESSES,
    single: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Settings]:
    where = given if isinstance(given, Site) else Site(login_user="admin", connection=given)
    serving = Serving(model="qwen2.5-7b-instruct-awq", dtype="float16")
    groups = compose(CLUSTER, addresses=addresses, serving=serving, site=where, connections=single)
    return {name.rpartition("/")[2]: parse(name, data["settings"]) for group in groups for name, data in group}


def behind(control_host: str = "gate.example", **ports: Any) -> dict[str, Any]:
    return connections(CLUSTER, addresses=ADDRESSES, login_user="admin", control_host=control_host, **ports)


def ports(found: Mapping[str, Settings]) -> list[tuple[int, ...]]:
    return [found[name].way_in.ports for name in NAMES]


def test_the_ports_that_the_inventory_connects_to(home: Path) -> None:
    assert ports(composed({})) == [(22,)] * 3
    assert ports(composed({"ssh_port": 2222})) == [(2222,)] * 3
    assert ports(composed({"ssh_port": "2222"})) == [(2222,)] * 3
    assert ports(composed({}, single={NAMES[1]: {"ssh_port": 2022}})) == [(22,), (2022,), (22,)]
    assert ports(composed(behind())) == [(22,)] * 3
    assert ports(composed(behind(ssh_port=2222))) == [(2222,)] * 3
    assert ports(composed(behind(control_port=10022))) == [(10022,), (22,), (22,)]
    assert ports(composed({**behind(ssh_port=2222), "ssh_port": 1022})) == [(1022,)] * 3, "pyinfra's own comes first"


def test_the_operators_own_ports_are_in_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_SSH_PORT", "2222")
    monkeypatch.setenv("CLUSTER_CONTROL_PORT", "10022")
    assert ports(composed(site(CLUSTER, ADDRESSES))) == [(10022,), (2222,), (2222,)]
    monkeypatch.setenv("CLUSTER_SSH_PORT", "ssh")
    with pytest.raises(ProfileError, match="CLUSTER_SSH_PORT 'ssh' is no port"):
        site(CLUSTER, ADDRESSES)


@pytest.mark.parametrize("port", [70000, -1, "ssh", True, 22.0, [22]])
def test_what_is_no_port(home: Path, port: Any) -> None:
    with pytest.raises(ProfileError, match=r"ssh_port .* is no port; give a number from 1 to 65535"):
        composed({"ssh_port": port})


@pytest.mark.parametrize("port", [6379, 6550, 20022, 8730, 8100])
def test_a_port_that_is_closed_to_everybody_else(home: Path, port: int) -> None:
    with pytest.raises(ProfileError, match=f"ssh_port {port} is one of the cluster's own ports"):
        composed({"ssh_port": port})


@pytest.mark.parametrize("interface_rule", ["udp sport 67 udp dport 68", "udp sport 547 udp dport 546", "{ 1, 58 }"])
def test_leases_and_neighbours_stay(home: Path, interface_rule: str) -> None:
    for settings in composed({}).values():
        lines = [line.strip() for line in firewall.text(settings).splitlines()]
        (rule,) = [line for line in lines if interface_rule in line]
        interface = settings.network.interface
        assert rule.startswith(f'iifname "{interface}" ') and rule.endswith(" accept")
        assert lines.index(rule) < lines.index(f'iifname "{interface}" drop')


def test_what_else_of_the_operators_is_let_in(home: Path) -> None:
    for settings in composed(Site(login_user="admin", let_in=("udp/51820", "tcp/9100"))).values():
        text, interface = firewall.text(settings), settings.network.interface
        for rule in ("udp dport 51820", "tcp dport 9100"):
            assert text.index(f'iifname "{interface}" {rule} accept') < text.index(f'iifname "{interface}" drop')


@pytest.mark.parametrize("entry", ["51820", "udp", "udp/", "udp/0", "udp/x", "tcp/22; drop", "icmp/1", "tcp/70000"])
def test_what_cannot_be_let_in(home: Path, entry: str) -> None:
    with pytest.raises(ProfileError, match="let_in"):
        composed(Site(login_user="admin", let_in=(entry,)))


@pytest.mark.parametrize(
    ("connection", "multicast"),
    [
        ({}, False),
        ({"ssh_hostname": "192.0.2.9"}, False),
        ({"ssh_hostname": "nuc.local"}, True),
        ({"ssh_hostname": "NUC.Local."}, True),
        (behind("nuc.local"), True),
        (behind("local"), False),
    ],
)
def test_names_that_the_host_tells_itself(home: Path, connection: dict[str, Any], multicast: bool) -> None:
    text = firewall.text(composed(connection)[NAMES[0]])
    assert ("udp dport 5353 accept" in text) is multicast


@pytest.mark.parametrize("address", ["fd12::1", "::1", "2001:db8::7", "fe80::1%eth0", "::ffff:192.0.2.1"])
def test_the_clusters_network_is_of_version_4(home: Path, address: str) -> None:
    with pytest.raises(ProfileError, match=f"{NAMES[0]}: address {address} is of IPv6.*give an IPv4 address"):
        composed({}, {**ADDRESSES, NAMES[0]: address})


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "[::1]", "localhost", "", 7, None])  # noqa: S104
def test_what_is_no_single_hosts_address(address: Any) -> None:
    with pytest.raises(ProfileError, match="node: address"):
        check_address(address, "node")


def test_host_data_that_another_program_wrote_comes_through_the_same_door(home: Path) -> None:
    (entry,), _ = compose(
        CLUSTER,
        addresses=ADDRESSES,
        serving=Serving(model="qwen2.5-7b-instruct-awq", dtype="float16"),
        site=Site(login_user="admin"),
    )
    settings = entry[1]["settings"]
    network = {**settings["network"], "peers": {**settings["network"]["peers"], "compute0": "fd12::2"}}
    with pytest.raises(SettingsError, match="compute0: address fd12::2 is of IPv6"):
        parse("control", {**settings, "network": network})
