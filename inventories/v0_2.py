"""Four Ryzen AI Max 395 boards behind a control node. They serve on the iGPU; vLLM cannot use the NPU.

To bring it up:

    cluster -c v0_2 up        or: pyinfra inventories/v0_2.py deploys/all.py
"""

from hardware.v0_2 import CLUSTER
from inventories.composition.compose import Serving, compose
from inventories.composition.jump import site
from inventories.composition.netboot import Netboot

_addresses = {
    "control-0-2": "192.168.20.1",
    "compute0": "192.168.20.10",
    "compute1": "192.168.20.11",
    "compute2": "192.168.20.12",
    "compute3": "192.168.20.13",
}

control, compute = compose(
    CLUSTER,
    addresses=_addresses,
    # Each board holds the whole model, so each is an engine of its own and no token crosses the network.
    serving=Serving(model="qwen3-30b-a3b", mode="replicas", dtype="bfloat16"),
    # Nodes whose MAC address is in ~/.local/state/cluster/v0_2/machines.yaml boot from the control node.
    site=site(CLUSTER, _addresses, netboot=Netboot()),
)
