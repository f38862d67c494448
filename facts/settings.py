"""Defaults for facts that know this project's clusters: what the inventory says of the host at hand.

With them `pyinfra INVENTORY fact facts.ray.Nodes` works without arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pyinfra import host
from pyinfra.api.exceptions import FactValueError


def of_host() -> Mapping[str, Any]:
    """The host's `settings`; FactValueError when its inventory was not composed by this project."""
    data = host.data.get("settings")
    if not isinstance(data, Mapping):
        raise FactValueError(f"{host.name}: no `settings` in its inventory; give the fact's arguments instead")
    return cast(Mapping[str, Any], data)


def dashboard() -> str:
    """Address of the cluster's dashboard."""
    settings = of_host()
    head = settings["network"]["peers"][settings["control_node"]]
    return f"http://{head}:{settings['ray']['ports']['dashboard']}"


def token_file() -> str:
    """Where the host keeps Ray's token."""
    return f"{of_host()['directories']['configuration']}/ray-token"


def engine_places() -> list[tuple[str, str, int]]:
    """Where an engine may listen: node, address, port."""
    data = of_host()
    peers, engine_ports = data["network"]["peers"], data["gateway"]["engine_ports"]
    return [(node, peers[node], port) for node, ports in engine_ports.items() for port in ports]


def questions() -> list[dict[str, Any]]:
    """For each model: its name, directory and golden question, and the places where its engines may listen."""
    data = of_host()
    return [
        {
            "model": entry["model"]["name"],
            "directory": entry["model"]["directory"],
            "golden": entry["model"]["golden"],
            "places": [place for place in engine_places() if place[0] in entry["nodes"]],
        }
        for entry in data["applications"]
    ]


def model_directory() -> str:
    """Directory of the model that the host serves, or of the default one."""
    data = of_host()
    mine = next((entry for entry in data["applications"] if data["node"] in entry["nodes"]), data["applications"][0])
    return str(mine["model"]["directory"])
