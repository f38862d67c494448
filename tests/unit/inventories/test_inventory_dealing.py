"""Which nodes run which model: by name, by number, the rest; what moves when nodes come and go, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hardware.model import ProfileError
from inventories.composition.dealing import Wish, deal

FOUR = ("n0", "n1", "n2", "n3")


def dealt(wishes: Sequence[Wish], declared: Sequence[str] = FOUR, out: Sequence[str] = ()) -> list[str]:
    return [" ".join(nodes) for nodes in deal("mine", wishes, declared, out)]


def test_one_model_has_all_nodes_or_the_first_ones() -> None:
    assert dealt([Wish("a")]) == ["n0 n1 n2 n3"]
    assert dealt([Wish("a", count=2)]) == ["n0 n1"]
    assert dealt([Wish("a", ("n3", "n1"))]) == ["n1 n3"]


def test_names_before_numbers_before_the_rest() -> None:
    assert dealt([Wish("a"), Wish("b", count=1), Wish("c", ("n0",))]) == ["n2 n3", "n1", "n0"]
    assert dealt([Wish("a", count=1), Wish("b", count=2)]) == ["n0", "n1 n2"]


def test_the_rest_goes_round_so_that_a_new_node_moves_nobody() -> None:
    wishes = [Wish("a"), Wish("b")]
    assert dealt(wishes, FOUR[:2]) == ["n0", "n1"]
    assert dealt(wishes, FOUR[:3]) == ["n0 n2", "n1"]
    assert dealt(wishes) == ["n0 n2", "n1 n3"]


def test_a_node_that_is_out_moves_nobody_and_a_spare_one_stands_in() -> None:
    assert dealt([Wish("a"), Wish("b")], out=["n0"]) == ["n2", "n1 n3"]
    assert dealt([Wish("a", count=2)], out=["n0"]) == ["n1 n2"]
    assert dealt([Wish("a", count=1), Wish("b", count=1)], out=["n1", "n2"]) == ["n0", "n3"]
    assert dealt([Wish("a")], out=["n2"]) == ["n0 n1 n3"]


@pytest.mark.parametrize(
    ("wishes", "out", "said"),
    [
        ([Wish("a", count=5)], [], "5 replicas on 4 compute nodes; give 1 to 4"),
        ([Wish("a", count=0)], [], "0 replicas on 4 compute nodes"),
        ([Wish("a", count=3), Wish("b", count=2)], [], "a, b want 5 compute nodes and there are 4"),
        ([Wish("a", count=4), Wish("b")], [], "no compute node is left for b; there are 4 in all"),
        ([Wish("a", ("n9",))], [], "no compute node n9; there are n0, n1, n2, n3"),
        ([Wish("a", ("n1",)), Wish("b", ("n1",))], [], "node n1 in more than one Serving"),
        ([Wish("a"), Wish("a")], [], "model a in more than one Serving"),
        ([Wish("a", ("n1",), 2)], [], "a names 1 nodes and 2 replicas; say one of the two"),
        (
            [Wish("a", ("n1",)), Wish("b")],
            ["n1"],
            "every node of a was taken out; take n1 out of `out` in members.json",
        ),
    ],
)
def test_what_cannot_be_dealt(wishes: list[Wish], out: list[str], said: str) -> None:
    with pytest.raises(ProfileError, match=f"^inventory mine: {said}"):
        dealt(wishes, out=out)
