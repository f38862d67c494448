"""Hardware v0.2: four Ryzen AI Max+ 395 boards and a dedicated control machine.

Frozen on release; a change is a new version. The iGPU serves; the NPU, which the requirements name as
the accelerator, is recorded but vLLM has no support for it.

"Fully connected" is one link with all members: a switch, on which any two nodes are one hop apart. It is
not a mesh of cables: these boards have two USB4 ports, and a mesh of four nodes needs three on each.
"""

from __future__ import annotations

from hardware.catalog.ryzen_ai_max_395 import (
    PROCESSOR,
    PROCESSOR_THREADS,
    RADEON_8060S,
    SYSTEM_MEMORY_BANDWIDTH_BYTES_PER_SECOND,
    XDNA_2,
)
from hardware.model import GIB, GIGA, Cluster, Figure, Link, NetworkBoot, Node

_COMPUTE_NODES = 4

_CONTROL = Node(
    name="control-0-2",
    role="control",
    board="dedicated machine",
    # To be checked on the host (`ip -brief link`).
    cluster_interface="enp1s0",
)


def _compute(index: int) -> Node:
    return Node(
        name=f"compute{index}",
        role="compute",
        board="AMD Ryzen AI Max+ 395 board",
        # To be checked on the host (`ip -brief link`): it differs between makers of these boards.
        cluster_interface="enp1s0",
        processor=PROCESSOR,
        processor_threads=PROCESSOR_THREADS,
        memory_bytes=Figure(
            128 * GIB,
            "assumed: the largest version sold, up to 128 GB LPDDR5X-8000 "
            "(https://www.hal0.dev/docs/hardware/strix-halo/); a 64 GB board is a new version of this "
            "profile",
        ),
        memory_bandwidth_bytes_per_second=SYSTEM_MEMORY_BANDWIDTH_BYTES_PER_SECOND,
        accelerators=(RADEON_8060S,),
        neural_processors=(XDNA_2,),
        network_boot=NetworkBoot(
            # Boards differ: Realtek RTL8125, Intel I226 or Aquantia.
            network_drivers=("r8169", "igc", "atlantic"),
            # Realtek's own driver takes the card from r8169 and is not in the initrd.
            refused_packages=("r8125-dkms", "r8168-dkms"),
            note="Wake-on-LAN is not stated by the boards' makers: power them on by hand.",
        ),
    )


_COMPUTE = tuple(_compute(index) for index in range(_COMPUTE_NODES))

CLUSTER = Cluster(
    name="v0_2",
    version="0.2",
    control=_CONTROL,
    compute=_COMPUTE,
    links=(
        Link(
            kind="ethernet",
            members=(_CONTROL.name, *(node.name for node in _COMPUTE)),
            bits_per_second=Figure(
                2.5 * GIGA,
                "assumed: 2.5 GbE, the usual port of boards with this processor, e.g. "
                "https://raw.githubusercontent.com/kyuz0/strixhalo-homelab/HEAD/Hardware/PCs/Morefine_H1.md",
            ),
            note="Through a switch, so fully connected. Some boards do 5 Gb/s: check with ethtool.",
        ),
    ),
)
