"""This machine alone: a Ray head and two workers as three nodes on loopback. No root, no systemd, no GPU, no hub.

To bring it up:

    ./cluster up
"""

import getpass

from hardware.laptop import laptop
from inventories.composition import members
from inventories.composition.compose import Serving, Site, compose

_name = "laptop"
_workers = members.read(_name).count or 2

control, compute = compose(
    laptop(_workers),
    name=_name,
    # Not 127.0.0.1: a Ray head that is given it moves to the machine's own address, for the whole network to see.
    addresses={
        "head": "127.0.0.10",
        **{f"worker{_index}": f"127.0.0.{10 + _index}" for _index in range(1, _workers + 1)},
    },
    serving=Serving(
        model="smollm2-135m-instruct",
        dtype="float32",  # in bfloat16 its answer depends on the processor: docs/decisions.md
        enforce_eager=True,  # compiled, this model has answered garbage on a CPU: docs/decisions.md
        # Room for one request of full length in float32, for two in bfloat16.
        engine={"kv_cache_memory_bytes": 96 * 1024**2, "max_num_seqs": 16},
    ),
    site=Site(
        login_user=getpass.getuser(),
        service_user=getpass.getuser(),
        service_manager="supervisor",
        shared_files=True,
        connector="loopback",
        use_operator_package_sources=True,
        shared_processors=True,
        new_nodes="processes",
        most_nodes=8,
    ),
)
