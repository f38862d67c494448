"""/etc/hosts of a managed host: the cluster's names in it, and what is left of the rest. Pure.

A part of the file between two marks is the cluster's. Whatever else the operator has there stays, but for what would
lead one of the cluster's names, or the host's own, elsewhere: on a loopback line it makes Gloo and Ray announce an
address that nobody else can reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from deploys.settings import Settings

PATH = "/etc/hosts"
BEGIN, END = "# Managed by cluster: begin", "# Managed by cluster: end"
_OWN = "# what this host calls itself"
# The whole file was ours once, and began so; nothing in it is the operator's.
_FORMER = ("# Managed by cluster.", "127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def block(settings: Settings, own: Sequence[str] = ()) -> str:
    """The cluster's part: every node's name resolves to its cluster address, on the node itself too.

    `own`: what the host calls itself beside its node's name. `compute-node` is an alias for local tools, not on the
    control node.
    """
    alias = "" if settings.is_control else " compute-node"
    lines = [
        *([f"{settings.network.address} {' '.join(own)} {_OWN}"] if own else []),
        f"127.0.0.1 localhost{alias}",
        "::1 localhost ip6-localhost ip6-loopback",
        *(f"{address} {name}" for name, address in settings.network.peers.items()),
    ]
    return "\n".join(lines) + "\n"


def merged(found: str, host_name: str, settings: Settings) -> str:
    """The text of /etc/hosts as it should be, given the one that was found and the host's own name.

    Merging twice changes nothing. A name of the host's own moves from loopback to the cluster's address, and with it
    the names on the same line.
    """
    before, ours, after = _parts(found)
    own = _own(ours)
    usable = _usable(host_name, settings)
    places = {**({host_name: settings.network.address} if usable else {}), **settings.network.peers}
    kept = []
    for part in (before, after):
        lines = []
        for line in part:
            left, moved = _without(line, places, settings)
            own += moved
            lines += left
        kept.append(lines)
    if usable and host_name != settings.node and not _leads_here(kept, host_name, settings):
        own.append(host_name)
    own = [name for name in dict.fromkeys(own) if name not in settings.network.peers]
    text = [*kept[0], BEGIN, *block(settings, own).splitlines(), END, *kept[1]]
    return "\n".join(text) + "\n"


def _parts(found: str) -> tuple[list[str], list[str], list[str]]:
    """Lines before the cluster's part, in it, and after it; without both marks there is none."""
    lines = found.splitlines()
    if tuple(line.removesuffix(" compute-node") for line in lines[:3]) == _FORMER:
        return [], [], []
    if BEGIN in lines and END in lines[lines.index(BEGIN) :]:
        first = lines.index(BEGIN)
        last = lines.index(END, first)
        return lines[:first], lines[first + 1 : last], [line for line in lines[last + 1 :] if line not in (BEGIN, END)]
    return [line for line in lines if line not in (BEGIN, END)], [], []


def _own(ours: Sequence[str]) -> list[str]:
    """What the cluster's part says of the host's own names."""
    return [name for line in ours if line.endswith(_OWN) for name in line.removesuffix(_OWN).split()[1:]]


def _usable(host_name: str, settings: Settings) -> bool:
    """Whether a host's own name may be the cluster's to resolve: not another node's, and none that means loopback."""
    other = host_name in settings.network.peers and host_name != settings.node
    return bool(_NAME.fullmatch(host_name)) and not host_name.startswith("localhost") and not other


def _without(line: str, places: Mapping[str, str], settings: Settings) -> tuple[list[str], list[str]]:
    """What stays of a line that is not ours, and the names that move from it to the host's own.

    `places`: name -> the address that it has to lead to. The resolver does not tell capitals from small letters.
    """
    said, mark, comment = line.partition("#")
    address, *names = said.split() or [""]
    elsewhere = {name.lower() for name, at in places.items() if at != address}
    if not elsewhere & {name.lower() for name in names}:
        return [line], []
    mine = {name.lower() for name, at in places.items() if at == settings.network.address}
    moves = mine & {name.lower() for name in names} and _is_loopback(address)
    left = [
        name for name in names if name.startswith(("localhost", "ip6-")) or not (moves or name.lower() in elsewhere)
    ]
    moved = [name for name in names if name not in left and name.lower() not in settings.network.peers] if moves else []
    rest = [f"{address} {' '.join(left)}{f' {mark}{comment}' if mark else ''}"] if left else []
    return rest, [name for name in moved if _NAME.fullmatch(name)]


def _leads_here(kept: Sequence[Sequence[str]], host_name: str, settings: Settings) -> bool:
    lines = (line.partition("#")[0].split() for part in kept for line in part)
    return any(words[:1] == [settings.network.address] and host_name in words[1:] for words in lines)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
