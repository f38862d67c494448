"""Which clusters can have more nodes, and how many: what an inventory says decides, whatever its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventories.composition import members
from operate import clusters, participation
from operate.errors import NoHostsError, OperatorError


class Quiet:
    """Nobody is told."""

    def phase(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def event(self, kind: str, text: str) -> None:
        pass


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("laptop", "7", "laptop has 2 compute nodes, and has room for 8"),
        ("laptop", "0", "0 nodes cannot be added"),
        ("v0_1", "1", "v0_1: real machines cannot be made"),
        ("v0_1", "compute9", "no node 'compute9' was taken out"),
    ],
)
def test_nodes_that_cannot_be_added(name: str, what: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        participation.add(clusters.read(name), what, Quiet())
    assert members.read(name) == members.Members()


@pytest.mark.usefixtures("home")
def test_a_copy_of_an_inventory_may_grow_as_the_first_may(tmp_path: Path, repository: Path) -> None:
    """Not its name decides, which is another, and how many nodes it has is its own record's."""
    copy = tmp_path / "another.py"
    text = (repository / "inventories/laptop.py").read_text()
    copy.write_text(text.replace('_name = "laptop"', '_name = "another"'))
    members.write("laptop", members.Members(count=4))
    with pytest.raises(OperatorError, match="another has 2 compute nodes, and has room for 8"):
        participation.add(clusters.read(str(copy)), "7", Quiet())


@pytest.mark.usefixtures("home")
def test_a_lab_that_is_not_up_has_no_hosts_yet() -> None:
    with pytest.raises(NoHostsError, match="run `cluster lab up"):
        clusters.read("lab")


@pytest.mark.parametrize("name", ["containers", "containers_amd"])
def test_no_command_operates_containers(name: str, repository: Path) -> None:
    with pytest.raises(OperatorError, match=r"containers\.md"):
        clusters.read(str(repository / f"inventories/{name}.py"))
