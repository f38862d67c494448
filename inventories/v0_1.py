"""Two PCs with a Radeon RX 7600 XT each, behind a NUC that controls them; reached through it.

To bring it up:

    cluster -c v0_1 up        or: pyinfra inventories/v0_1.py deploys/all.py
"""

from hardware.v0_1 import CLUSTER
from inventories.composition.compose import Serving, compose
from inventories.composition.jump import site
from inventories.composition.netboot import Netboot

_addresses = {"control-0-1": "192.168.10.1", "compute0": "192.168.10.10", "compute1": "192.168.10.11"}

control, compute = compose(
    CLUSTER,
    addresses=_addresses,
    serving=Serving(
        model="mistral-small-instruct-2409-awq",
        mode="span",  # 22 B in 4 bits fill most of one card; over two there is room for the cache
        span_by="pipeline",  # layers cross the switch once a token; tensor parallelism would cross it in every layer
        dtype="float16",
        enforce_eager=True,
    ),
    # Nodes whose MAC address is in ~/.local/state/cluster/v0_1/machines.yaml boot from the control node.
    site=site(CLUSTER, _addresses, netboot=Netboot()),
)
