"""What `cluster up` decides while nodes boot: who is woken, whom a person switches on, what boots without an image."""

from __future__ import annotations

import pytest

from deploys.pxe_server.settings import Machine
from operate.errors import OperatorError
from operate.power_on import to_switch_on, what_they_have

KNOWN = {
    name: Machine(
        node=name,
        mac_address=f"52:54:00:00:00:0{at}",
        address=f"192.0.2.{at}",
        secure_boot=False,
        wake_on_lan=wakes,
        kernel_arguments=(),
        refused_packages=(),
        largest_load_bytes=2**30,
    )
    for at, (name, wakes) in enumerate((("compute1", True), ("compute2", False), ("compute3", True)), start=1)
}


@pytest.mark.parametrize(
    ("away", "able", "notes"),
    [
        ([], [], []),
        (["compute1"], ["compute1"], ["woken: compute1; switch on by hand what stays off"]),
        (["compute2"], [], ["switch on compute2 (52:54:00:00:00:02): no Wake-on-LAN is declared for it"]),
        (
            ["compute1", "compute2", "compute3"],
            ["compute1", "compute3"],
            [
                "woken: compute1, compute3; switch on by hand what stays off",
                "switch on compute2 (52:54:00:00:00:02): no Wake-on-LAN is declared for it",
            ],
        ),
    ],
)
def test_who_is_woken_and_whom_a_person_switches_on(away: list[str], able: list[str], notes: list[str]) -> None:
    assert to_switch_on(away, KNOWN) == (able, notes)


def test_without_a_new_image_nodes_boot_what_they_have() -> None:
    said = what_they_have({"compute1": "lab-2", "compute2": "lab-1", "compute3": "lab-2"}, "no room in /var")
    assert said == "no room in /var; the nodes boot what they have: lab-1, lab-2"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "no room in /var; and no node has one before"),
        ({"compute1": "lab-1", "compute2": None}, "no room in /var; and compute2 has none before"),
    ],
)
def test_a_node_that_never_had_an_image_cannot_boot(chosen: dict[str, str | None], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        what_they_have(chosen, "no room in /var")
