"""Two PCs with one GeForce RTX 5070 each, and any small third machine as control node.

To bring it up:

    cluster -c geforce_pair up        or: pyinfra inventories/geforce_pair.py deploys/all.py
"""

from hardware.geforce_pair import CLUSTER
from inventories.composition.compose import Serving, compose
from inventories.composition.jump import site

_names = tuple(_node.name for _node in CLUSTER.nodes)
_addresses = dict(zip(_names, ("192.168.30.1", "192.168.30.10", "192.168.30.11"), strict=True))

control, compute = compose(
    CLUSTER,
    addresses=_addresses,
    serving=Serving(model="qwen2.5-7b-instruct-awq", mode="replicas", dtype="float16"),
    site=site(CLUSTER, _addresses),
)
