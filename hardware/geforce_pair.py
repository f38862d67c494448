"""Two PCs with one GeForce RTX 5070 each, on a local network.

Frozen on release; a change is a new version. The requirements name the two PCs only. A cluster needs a
control node that loads no model (Ray head, depot of weights, API, network boot), and on a PC it would
share the card's memory and fall with it; so `control` here is any small third machine or VM on the same
network. It needs no GPU. The PCs run Linux: the attempts on Windows and WSL that the requirements report
are not repeated.
"""

from __future__ import annotations

from hardware.catalog.geforce_rtx_5070 import GEFORCE_RTX_5070
from hardware.model import GIGA, Cluster, Figure, Link, Node

_CONTROL = Node(
    name="control",
    role="control",
    board="any small machine or VM",
    # To be checked on the host (`ip -brief link`).
    cluster_interface="eno1",
)


def _compute(index: int) -> Node:
    return Node(
        name=f"compute{index}",
        role="compute",
        board="PC",
        # To be checked on the host (`ip -brief link`).
        cluster_interface="eno1",
        accelerators=(GEFORCE_RTX_5070,),
    )


CLUSTER = Cluster(
    name="geforce_pair",
    version="1.0",
    control=_CONTROL,
    compute=(_compute(0), _compute(1)),
    links=(
        Link(
            kind="ethernet",
            members=("control", "compute0", "compute1"),
            bits_per_second=Figure(
                1 * GIGA,
                "assumed: IEEE 802.3ab 1000BASE-T, the slowest port on a PC that takes this card; the "
                "requirements say `local network` only",
            ),
            note="Check with ethtool; 2.5 GbE is common on such boards.",
        ),
    ),
)
