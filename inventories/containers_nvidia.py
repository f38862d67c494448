"""Containers on one machine, each worker with a GeForce RTX 5070 of its own: what compose.nvidia.yaml adds.

See inventories/containers.py.
"""

import os

from hardware.catalog.geforce_rtx_5070 import GEFORCE_RTX_5070
from hardware.containers import containers
from inventories.composition.compose import Serving, Site, compose

_workers = int(os.environ.get("CLUSTER_CONTAINER_WORKERS", "2"))

CLUSTER = containers(_workers, GEFORCE_RTX_5070)

control, compute = compose(
    CLUSTER,
    addresses={_node.name: f"172.30.77.{10 + _index}" for _index, _node in enumerate(CLUSTER.nodes)},
    serving=Serving(
        model="qwen2.5-7b-instruct-awq",
        dtype="float16",
    ),
    site=Site(login_user="cluster", service_manager="compose", shared_files=True),
)
