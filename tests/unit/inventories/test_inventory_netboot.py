"""Which nodes boot from the control node: what the operator's file and the profile give, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardware import v0_1
from hardware.lab import lab
from hardware.model import Cluster, NetworkBoot, ProfileError
from inventories.composition.compose import Serving, Site, compose
from inventories.composition.machines import fill_in, path
from inventories.composition.netboot import Netboot, boot_plan

MACS = {"compute0": "52:54:00:00:00:01", "compute1": "52:54:00:00:00:02"}
ADDRESSES = {"control": "192.0.2.1", "compute0": "192.0.2.10", "compute1": "192.0.2.11"}


def write(text: str, cluster: str = "lab") -> Path:
    file = path(cluster)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def with_macs(macs: Mapping[str, str] = MACS) -> Cluster:
    cluster = lab(2)
    return replace(
        cluster, compute=tuple(replace(node, mac_address=macs.get(node.name, "")) for node in cluster.compute)
    )


def planned(cluster: Cluster, addresses: Mapping[str, str] = ADDRESSES, **netboot: Any) -> dict[str, Any]:
    return boot_plan("lab", cluster, addresses, Netboot(**netboot))


def test_operator_gives_the_addresses_of_the_cards(home: Path) -> None:
    # Digits only and below sixty: YAML takes it for a number to the base of sixty unless it is told not to.
    write("compute0: 12:34:56:12:34:56\ncompute1: {mac_address: 52:54:00:AB:CD:EF, secure_boot: true}\n")
    filled = fill_in("lab", lab(2))
    assert [node.mac_address for node in filled.compute] == ["12:34:56:12:34:56", "52:54:00:ab:cd:ef"]
    assert [node.network_boot.secure_boot for node in filled.compute] == [False, True]


def test_operator_names_the_interface_that_a_machine_really_has(home: Path) -> None:
    write("compute1: {interface: enp6s0}\ncontrol: {interface: br-lan.10}\n")
    assert [node.mac_address for node in fill_in("lab", lab(2)).compute] == ["", ""]
    groups = compose(
        lab(2), addresses=ADDRESSES, serving=Serving(model="smollm2-135m-instruct"), site=Site(login_user="admin")
    )
    found = {name: data["settings"]["network"]["interface"] for group in groups for name, data in group}
    assert found == {"control": "br-lan.10", "compute0": "eth0", "compute1": "enp6s0"}


def test_without_a_file_the_profile_holds(home: Path) -> None:
    assert fill_in("lab", with_macs()) == with_macs()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("compute0: 52:54:00:12:34", "machines.yaml: compute0: MAC address '52:54:00:12:34' is not six pairs"),
        ("compute0: 5254.0012.3456", "is not six pairs"),
        ("compute0: 33:33:00:00:00:01", "is no single card's"),
        ("compute9: 52:54:00:00:00:01", "compute9 is no node of lab; its nodes are control, compute0, compute1"),
        ("compute0: {mac: 52:54:00:00:00:01}", "unknown mac; there are mac_address, secure_boot, wake_on_lan"),
        ("compute0: {interface: 'eth0 eth1'}", "is no name of a network interface"),
        ("compute0: {interface: a-name-that-is-too-long}", "is no name of a network interface"),
        ("compute0: {interface: ''}", "is no name of a network interface"),
        ("compute0: {secure_boot: perhaps}", "secure_boot is 'perhaps'; write true or false"),
        ("- compute0", "a line a node is expected"),
        ("compute0: [", "cannot be read"),
    ],
)
def test_bad_file_is_refused_in_one_line(home: Path, text: str, said: str) -> None:
    file = write(text)
    with pytest.raises(ProfileError, match=str(file)) as refused:
        fill_in("lab", lab(2))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_nodes_with_one_card_are_refused() -> None:
    with pytest.raises(ProfileError, match="compute0 and compute1 both have the MAC address 52:54:00:00:00:01"):
        planned(with_macs({"compute0": "52:54:00:00:00:01", "compute1": "52:54:00:00:00:01"}))


@pytest.mark.parametrize("address", ["192.0.3.10", "192.0.2.255", "192.0.2.0", "2001:db8::10"])
def test_address_outside_the_network_is_refused(address: str) -> None:
    with pytest.raises(ProfileError, match=r"compute1's address .* is outside the control node's network 192.0.2.0/24"):
        planned(with_macs(), {**ADDRESSES, "compute1": address})


def test_other_address_family_of_the_control_node_is_refused() -> None:
    with pytest.raises(ProfileError, match="is no IPv4 network"):
        planned(with_macs(), {**ADDRESSES, "control": "2001:db8::1"})


def test_router_that_is_none_is_refused() -> None:
    with pytest.raises(ProfileError, match="router 'the box' is no IPv4 address"):
        planned(with_macs(), router="the box")


def test_node_without_a_card_is_named_and_not_booted() -> None:
    plan = planned(with_macs({"compute0": MACS["compute0"]}))
    assert [machine["node"] for machine in plan["machines"]] == ["compute0"]
    assert plan["without_mac"] == ["compute1"]


def test_quirks_of_board_and_accelerator_reach_the_machine() -> None:
    cluster = replace(
        v0_1.CLUSTER,
        compute=tuple(
            replace(
                node,
                mac_address=f"52:54:00:00:00:0{index}",
                network_boot=NetworkBoot(kernel_arguments=("reboot=pci",), largest_load_bytes=7),
            )
            for index, node in enumerate(v0_1.CLUSTER.compute)
        ),
    )
    addresses = {"control-0-1": "192.0.2.1", "compute0": "192.0.2.10", "compute1": "192.0.2.11"}
    machine = boot_plan("v0_1", cluster, addresses, Netboot())["machines"][0]
    assert machine["kernel_arguments"] == ["reboot=pci"]
    assert machine["largest_load_bytes"] == 7


@pytest.mark.parametrize("netboot", [None, Netboot()])
def test_site_decides_whether_nodes_boot_from_it(home: Path, netboot: Netboot | None) -> None:
    write("compute0: 52:54:00:00:00:01\n")
    control, _ = compose(
        lab(2),
        addresses=ADDRESSES,
        serving=Serving(model="smollm2-135m-instruct"),
        site=Site(login_user="admin", netboot=netboot),
    )
    assert bool(control[0][1]["settings"]["netboot"]) == bool(netboot)


def test_node_that_was_taken_out_boots_all_the_same(home: Path, composed: Callable[..., Any]) -> None:
    write("compute0: 52:54:00:00:00:01\ncompute1: 52:54:00:00:00:02\n")
    (path("lab").parent / "members.json").write_text('{"out": ["compute1"], "draining": [], "count": null}')
    settings = composed(site={"netboot": Netboot()})["control"]
    assert settings.netboot is not None
    assert [machine.node for machine in settings.netboot.machines] == ["compute0", "compute1"]
