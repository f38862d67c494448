"""Containers on one machine, each worker with a Radeon RX 7600 XT of its own: what compose.amd.yaml adds.

See inventories/containers.py.
"""

import os

from hardware.catalog.radeon_rx_7600_xt import RADEON_RX_7600_XT
from hardware.containers import containers
from inventories.composition.compose import Serving, Site, compose

_workers = int(os.environ.get("CLUSTER_CONTAINER_WORKERS", "2"))

CLUSTER = containers(_workers, RADEON_RX_7600_XT)

control, compute = compose(
    CLUSTER,
    addresses={_node.name: f"172.30.77.{10 + _index}" for _index, _node in enumerate(CLUSTER.nodes)},
    serving=Serving(
        model="qwen2.5-7b-instruct-awq",
        dtype="float16",
        enforce_eager=True,  # AWQ on ROCm runs on the Triton path, without compilation
    ),
    site=Site(login_user="cluster", service_manager="compose", shared_files=True),
)
