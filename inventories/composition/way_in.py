"""How the operator gets to a host, as far as the inventory says: what the firewall there must leave open. Pure.

What the inventory does not say (an SSH configuration of the operator's own, a translated port) is seen on the host,
before rules are loaded there (facts/way_in.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hardware.model import ProfileError
from inventories.composition import ssh_files

SSH_PORT = 22


def way_in(
    where: str, node: str, data: Mapping[str, Any], let_in: Sequence[str], taken: Iterable[tuple[int, int]]
) -> dict[str, Any]:
    """The value of `settings.way_in` for a host with this connector data; `let_in` is the site's.

    `taken`: first and last of the ports that are the cluster's own there. ProfileError for an SSH port that is none, or
    one of those: it would be closed to everybody but the cluster's hosts.
    """
    said = ssh_files.said(data, node)
    port = checked_port(data.get("ssh_port") or said.get("Port") or SSH_PORT, f"{where}: {node}: ssh_port")
    for first, last in taken:
        if first <= port <= last:
            raise ProfileError(
                f"{where}: {node}: ssh_port {port} is one of the cluster's own ports ({first} to {last}), which are "
                "closed to everybody else; let sshd listen on another"
            )
    name = str(data.get("ssh_hostname") or said.get("HostName") or node)
    for entry in let_in:
        protocol, _, number = str(entry).partition("/")
        if protocol not in ("tcp", "udp"):
            raise ProfileError(f"{where}: let_in {entry!r} is no port of a protocol; write it as in udp/51820")
        checked_port(number, f"{where}: let_in {entry!r}: port")
    return {"ports": [port], "let_in": sorted(let_in), "multicast_names": name.rstrip(".").lower().endswith(".local")}


def checked_port(said: object, owner: str) -> int:
    """A TCP port as a number; ProfileError that names `owner` for what is none."""
    try:
        port = int(said) if isinstance(said, int | str) and not isinstance(said, bool) else 0
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise ProfileError(f"{owner} {said!r} is no port; give a number from 1 to 65535")
    return port
