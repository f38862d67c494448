"""Hardware v0.1: two PCs with one Radeon RX 7600 XT each, and a NUC that controls them.

Frozen on release; a change is a new version. Names are DNS labels, so the `control_0_1` of the
requirements is `control-0-1` here. What the requirements do not tell (processors, memory) is left None
and is read from the hosts.
"""

from __future__ import annotations

from hardware.catalog.radeon_rx_7600_xt import RADEON_RX_7600_XT
from hardware.model import GIGA, Cluster, Figure, Link, NetworkBoot, Node

_CONTROL = Node(
    name="control-0-1",
    role="control",
    board="NUC",
    # A USB Ethernet adapter, named after its MAC address: it keeps the name in whichever port it is.
    cluster_interface="enx8cae4cf44e21",
)


def _compute(index: int) -> Node:
    return Node(
        name=f"compute{index}",
        role="compute",
        board="MSI MPG Z690 Carbon WiFi",
        # To be checked on the host (`ip -brief link`): it moves with the cards in the PCIe slots.
        cluster_interface="enp5s0",
        accelerators=(RADEON_RX_7600_XT,),
        network_boot=NetworkBoot(
            network_drivers=("igc",),
            wake_on_lan=True,
            note=(
                "Onboard Intel I225-V. In the firmware: network stack on, PXE IPv4 on, CSM off, and for Wake-on-LAN "
                "ErP off and 'resume by PCI-E device' on; names differ between firmware versions."
            ),
        ),
    )


CLUSTER = Cluster(
    name="v0_1",
    version="0.1",
    control=_CONTROL,
    compute=(_compute(0), _compute(1)),
    links=(
        Link(
            kind="ethernet",
            members=("control-0-1", "compute0", "compute1"),
            bits_per_second=Figure(
                2.5 * GIGA,
                "2.5 Gb/s: Intel Ethernet Controller I225 Specification Update, revision 1.2, November "
                "2020, as given by "
                "https://pdfhost.io/fr-FR/v/7fxFIRwtq_621661-Intel®_Ethernet_Controller_I225-Public_External_Specification_Update-v1_2__4_",
            ),
            note=(
                "Through a switch. The compute nodes' onboard Intel I225-V does 2.5 Gb/s; the control "
                "node's USB adapter and the switch may do 1 Gb/s: check with ethtool."
            ),
        ),
        Link(
            kind="usb4",
            members=("compute0", "compute1"),
            bits_per_second=Figure(
                10 * GIGA,
                "about 10 Gb/s measured through thunderbolt-net, of a nominal 40 Gb/s: "
                "https://github.com/geerlingguy/ai-benchmarks/issues/21",
            ),
            optional=True,
            note=(
                "Host to host, interface thunderbolt0. It may not come back when the peer reboots, so "
                "nothing depends on it; the ports may be on an add-in card."
            ),
        ),
    ),
)
