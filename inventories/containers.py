"""Containers on one machine: a head and two workers, without GPUs. `python -m containers` writes their compose file.

pyinfra does not deploy to this inventory: an engine such as Docker or Podman does what the deploys do on hosts.
CLUSTER_CONTAINER_WORKERS is the number of workers.
"""

import os

from hardware.containers import containers
from inventories.composition.compose import Serving, Site, compose

_workers = int(os.environ.get("CLUSTER_CONTAINER_WORKERS", "2"))

CLUSTER = containers(_workers)

control, compute = compose(
    CLUSTER,
    addresses={_node.name: f"172.30.77.{10 + _index}" for _index, _node in enumerate(CLUSTER.nodes)},
    serving=Serving(
        model="smollm2-135m-instruct",
        # Right on any processor, and faster than bfloat16 where that has no instructions: the image is built elsewhere
        # than where this is read.
        dtype="float32",
        enforce_eager=True,  # compiled, this model has answered garbage on a CPU: docs/decisions.md
        engine={"kv_cache_memory_bytes": 96 * 1024**2, "max_num_seqs": 16},  # one request of full length
    ),
    # The paths and ports of a host each, without what belongs to a host: users, time, firewall. The engine restarts the
    # services, and all containers have the image and the volume with the weights, so nothing is copied between them.
    site=Site(login_user="cluster", service_manager="compose", shared_files=True),
)
