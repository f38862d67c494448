"""Real Debian hosts on this machine, as `cluster lab up` made them; reached over SSH like any bare-metal cluster.

To bring it up:

    cluster lab up --nodes 2 && pyinfra -y inventories/lab.py deploys/all.py
"""

import json

from hardware.lab import lab
from hardware.model import NoHostsError
from inventories.composition.compose import Serving, Site, compose
from inventories.composition.operator import home_directory

_file = home_directory() / "lab" / "lab.json"
if not _file.exists():
    raise NoHostsError(f"no lab is up ({_file} is missing); run `cluster lab up --nodes 2`")
_lab = json.loads(_file.read_text())
_addresses = {_host["name"]: _host["address"] for _host in _lab["hosts"]}
_nodes = len(_lab["hosts"]) - 1

control, compute = compose(
    lab(_nodes),
    addresses=_addresses,
    serving=Serving(
        model="smollm2-135m-instruct",
        replicas=min(_nodes, 3),  # an engine takes 3 GB, and all hosts of a lab share one machine's memory
        dtype="float32",  # in bfloat16 its answer depends on the processor: docs/decisions.md
        enforce_eager=True,
        # Room for one request of full length in float32, for two in bfloat16.
        engine={"kv_cache_memory_bytes": 96 * 1024**2, "max_num_seqs": 16},
    ),
    site=Site(
        login_user=_lab["login_user"],
        connection={
            "ssh_user": _lab["login_user"],
            "ssh_key": _lab["ssh_key"],
            "ssh_known_hosts_file": _lab["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
            "ssh_allow_agent": False,
            "ssh_look_for_keys": False,
            "ssh_config_file": "/dev/null",
            "ssh_paramiko_connect_kwargs": {"banner_timeout": 10, "auth_timeout": 10},
            "_sudo": True,
        },
        use_operator_package_sources=True,
        shared_processors=True,
        new_nodes="lab_hosts",
    ),
    connections={_name: {"ssh_hostname": _address} for _name, _address in _addresses.items()},
)
