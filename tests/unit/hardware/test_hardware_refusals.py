"""Malformed profiles are refused with a message: the thing, the value and the fix. The nodes are made up."""

from __future__ import annotations

import dataclasses

import pytest

from hardware.catalog.geforce_rtx_5070 import GEFORCE_RTX_5070
from hardware.catalog.radeon_rx_7600_xt import RADEON_RX_7600_XT
from hardware.model import Accelerator, Cluster, Figure, Link, Node, ProfileError, Role, check_address


def node(name: str, role: Role = "compute", *accelerators: Accelerator) -> Node:
    """A node of no importance but for what is given."""
    return Node(name=name, role=role, board="test", cluster_interface="eth0", accelerators=accelerators)


def cluster(*compute: Node, control: Node | None = None, links: tuple[Link, ...] = ()) -> Cluster:
    """A profile `trial` with `compute` and a control node."""
    return Cluster(
        name="trial", version="1", control=control or node("control", "control"), compute=compute, links=links
    )


def refusal(error: pytest.ExceptionInfo[ProfileError]) -> str:
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("control_0_1", "'control-0-1'"), ("Compute 0", "'compute-0'"), ("node.local", "'node-local'")],
)
def test_name_that_is_no_dns_label(name: str, advice: str) -> None:
    with pytest.raises(ProfileError) as error:
        node(name)
    assert refusal(error) == (
        f"node name {name!r} is no host name (RFC 1123); use letters, digits and '-', e.g. {advice}"
    )


@pytest.mark.parametrize("name", ["", "-compute", "compute-", "a" * 64])
def test_name_of_wrong_length_or_with_hyphen_at_an_end(name: str) -> None:
    with pytest.raises(ProfileError, match=r"is no host name \(RFC 1123\)"):
        node(name)


def test_no_cluster_interface() -> None:
    with pytest.raises(ProfileError) as error:
        dataclasses.replace(node("compute0"), cluster_interface="")
    expected = "node compute0: cluster_interface is empty; name the interface of the cluster's network"
    assert refusal(error) == expected


def test_duplicate_names_are_listed() -> None:
    with pytest.raises(ProfileError) as error:
        cluster(node("compute1"), node("compute0"), node("compute1"), node("compute0"))
    assert refusal(error) == "profile trial: node names used twice: compute0, compute1"


def test_compute_node_named_like_the_control_node() -> None:
    with pytest.raises(ProfileError) as error:
        cluster(node("control"))
    assert refusal(error) == "profile trial: node names used twice: control"


def test_link_with_a_stranger() -> None:
    members = ("control", "compute0", "compute7")
    link = Link(kind="ethernet", members=members, bits_per_second=Figure(1e9, "a test"))
    with pytest.raises(ProfileError) as error:
        cluster(node("compute0"), links=(link,))
    assert refusal(error) == "profile trial: ethernet link names unknown nodes: compute7"


def test_no_compute_nodes() -> None:
    with pytest.raises(ProfileError) as error:
        cluster()
    assert refusal(error) == "profile trial: no compute nodes; a cluster needs at least one"


def test_control_node_in_the_wrong_role() -> None:
    with pytest.raises(ProfileError) as error:
        cluster(node("compute0"), control=node("head"))
    assert refusal(error) == "profile trial: control node head has role 'compute'"


def test_compute_node_in_the_wrong_role() -> None:
    with pytest.raises(ProfileError) as error:
        cluster(node("compute0", "control"))
    assert refusal(error) == "profile trial: compute node compute0 has role 'control'"


def test_mixed_runtime_kinds() -> None:
    with pytest.raises(ProfileError) as error:
        cluster(node("compute0", "compute", RADEON_RX_7600_XT), node("compute1", "compute", GEFORCE_RTX_5070))
    assert refusal(error) == (
        "profile trial: compute nodes mix cuda and rocm; one engine runtime serves one cluster, "
        "so make a profile for each kind"
    )


def test_accelerator_that_the_engine_cannot_use_does_not_count_as_a_kind() -> None:
    spare = dataclasses.replace(GEFORCE_RTX_5070, engine="none", engine_note="a test")
    mixed = cluster(node("compute0", "compute", RADEON_RX_7600_XT, spare))
    assert mixed.runtime_kind == "rocm"
    assert mixed.compute[0].engine_accelerators == (RADEON_RX_7600_XT,)


@pytest.mark.parametrize("source", ["", "  ", "\n"])
def test_figure_without_source(source: str) -> None:
    with pytest.raises(ProfileError) as error:
        Figure(288e9, source)
    assert refusal(error) == "figure 288000000000.0 has no source; name the datasheet that states it"


@pytest.mark.parametrize("value", [0, -1])
def test_figure_that_is_not_above_zero(value: float) -> None:
    with pytest.raises(ProfileError) as error:
        Figure(value, "a datasheet")
    assert refusal(error) == f"figure {value!r} from 'a datasheet' must be above zero"


def test_address_that_is_none() -> None:
    with pytest.raises(ProfileError) as error:
        check_address("192.168.10", "compute0")
    expected = "compute0: address '192.168.10' is not an IP address; write it as in 192.168.10.11"
    assert refusal(error) == expected


def test_address_is_given_back_unchanged() -> None:
    assert check_address("192.168.10.11", "compute0") == "192.168.10.11"
