"""What only the owner of the machines knows of a node's card on the cluster's network: its MAC address and its name.

A file of the operator, `machines.yaml` beside the cluster's secrets, because a profile describes a kind of machine and
these are one machine's own: a name goes by the slot that a card is in. A line a node, or a mapping where a machine
differs from its profile:

    compute0: 52:54:00:12:34:56
    compute1: {mac_address: "52:54:00:12:34:57", secure_boot: true, wake_on_lan: false}
    compute2: {interface: enp6s0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from hardware.model import Cluster, Node, ProfileError, check_interface, check_mac_address
from inventories.composition.operator import cluster_directory

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_KEYS = ("mac_address", "secure_boot", "wake_on_lan", "interface")


def path(cluster: str) -> Path:
    """The file of a cluster."""
    return cluster_directory(cluster) / "machines.yaml"


def fill_in(name: str, cluster: Cluster) -> Cluster:
    """The profile with what the operator's file says of its machines; ProfileError for a file that cannot be right."""
    file = path(name)
    try:
        # BaseLoader: all values stay texts. YAML takes 12:34:56:12:34:56 for a number to the base of sixty.
        found = yaml.load(file.read_text(), Loader=yaml.BaseLoader) or {}  # noqa: S506 (it makes texts only)
    except FileNotFoundError:
        return cluster
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ProfileError(f"{file}: cannot be read ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(found, Mapping):
        raise ProfileError(f"{file}: a line a node is expected, as in `compute0: 52:54:00:12:34:56`")
    strangers = sorted(str(node) for node in found if node not in {node.name for node in cluster.nodes})
    if strangers:
        known = ", ".join(node.name for node in cluster.nodes)
        raise ProfileError(f"{file}: {', '.join(strangers)} is no node of {cluster.name}; its nodes are {known}")

    def filled(node: Node) -> Node:
        return _filled(node, found[node.name], f"{file}: {node.name}") if node.name in found else node

    return replace(cluster, control=filled(cluster.control), compute=tuple(filled(node) for node in cluster.compute))


def _filled(node: Node, said: object, where: str) -> Node:
    given = said if isinstance(said, Mapping) else {"mac_address": said}
    unknown = sorted(set(given) - set(_KEYS))
    if unknown:
        raise ProfileError(f"{where}: unknown {', '.join(unknown)}; there are {', '.join(_KEYS)}")
    boot = node.network_boot
    if "secure_boot" in given:
        boot = replace(boot, secure_boot=_truth(given["secure_boot"], f"{where}: secure_boot"))
    if "wake_on_lan" in given:
        boot = replace(boot, wake_on_lan=_truth(given["wake_on_lan"], f"{where}: wake_on_lan"))
    mac_address = node.mac_address
    if "mac_address" in given:
        text = given["mac_address"]
        mac_address = check_mac_address(text.lower() if isinstance(text, str) else text, where)
    interface = check_interface(given.get("interface", node.cluster_interface), f"{where}: interface")
    return replace(node, mac_address=mac_address, cluster_interface=interface, network_boot=boot)


def _truth(said: object, where: str) -> bool:
    if not isinstance(said, str) or said not in _TRUTH:
        raise ProfileError(f"{where} is {said!r}; write true or false")
    return _TRUTH[said]
