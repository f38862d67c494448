"""Which nodes run which model: by name, by number, the rest; what moves when nodes come and go, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hardware.model import ProfileError
from inventories.composition.dealing import NodeRequest, deal

FOUR = ("n0", "n1", "n2", "n3")


def dealt(requests: Sequence[NodeRequest], declared: Sequence[str] = FOUR, out: Sequence[str] = ()) -> list[str]:
    return [" ".join(nodes) for nodes in deal("mine", requests, declared, out)]


def test_one_model_has_all_nodes_or_the_first_ones() -> None:
    assert dealt([NodeRequest("a")]) == ["n0 n1 n2 n3"]
    assert dealt([NodeRequest("a", count=2)]) == ["n0 n1"]
    assert dealt([NodeRequest("a", ("n3", "n1"))]) == ["n1 n3"]


def test_names_before_numbers_before_the_rest() -> None:
    assert dealt([NodeRequest("a"), NodeRequest("b", count=1), NodeRequest("c", ("n0",))]) == ["n2 n3", "n1", "n0"]
    assert dealt([NodeRequest("a", count=1), NodeRequest("b", count=2)]) == ["n0", "n1 n2"]


def test_the_rest_goes_round_so_that_a_new_node_moves_nobody() -> None:
    requests = [NodeRequest("a"), NodeRequest("b")]
    assert dealt(requests, FOUR[:2]) == ["n0", "n1"]
    assert dealt(requests, FOUR[:3]) == ["n0 n2", "n1"]
    assert dealt(requests) == ["n0 n2", "n1 n3"]


def test_a_node_that_is_out_moves_nobody_and_a_spare_one_stands_in() -> None:
    assert dealt([NodeRequest("a"), NodeRequest("b")], out=["n0"]) == ["n2", "n1 n3"]
    assert dealt([NodeRequest("a", count=2)], out=["n0"]) == ["n1 n2"]
    assert dealt([NodeRequest("a", count=1), NodeRequest("b", count=1)], out=["n1", "n2"]) == ["n0", "n3"]
    assert dealt([NodeRequest("a")], out=["n2"]) == ["n0 n1 n3"]


@pytest.mark.parametrize(
    ("requests", "out", "said"),
    [
        ([NodeRequest("a", count=5)], [], "5 replicas on 4 compute nodes; give 1 to 4"),
        ([NodeRequest("a", count=0)], [], "0 replicas on 4 compute nodes"),
        ([NodeRequest("a", count=3), NodeRequest("b", count=2)], [], "a, b want 5 compute nodes and there are 4"),
        ([NodeRequest("a", count=4), NodeRequest("b")], [], "no compute node is left for b; there are 4 in all"),
        ([NodeRequest("a", ("n9",))], [], "no compute node n9; there are n0, n1, n2, n3"),
        ([NodeRequest("a", ("n1",)), NodeRequest("b", ("n1",))], [], "node n1 in more than one Serving"),
        ([NodeRequest("a"), NodeRequest("a")], [], "model a in more than one Serving"),
        ([NodeRequest("a", ("n1",), 2)], [], "a names 1 nodes and 2 replicas; say one of the two"),
        (
            [NodeRequest("a", ("n1",)), NodeRequest("b")],
            ["n1"],
            "every node of a was taken out; take n1 out of `out` in members.json",
        ),
    ],
)
def test_what_cannot_be_dealt(requests: list[NodeRequest], out: list[str], said: str) -> None:
    with pytest.raises(ProfileError, match=f"^inventory mine: {said}"):
        dealt(requests, out=out)
