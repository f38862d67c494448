"""The same cluster with one thing changed: another link, another card, more nodes. Pure.

A change is written `link=2.5Gb`, `link=usb4:10Gb`, `accelerator=NAME`, `nodes=+1`, `nodes=4`, `memory=24GiB` or
`bandwidth=2x`. The figures of a changed part say in their source that they are asked for, not read anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

from hardware.model import GIB, GIGA, Accelerator, Cluster, Figure, Link, LinkKind, Node
from hardware.planner.errors import PlanError

FORMS = "link=2.5Gb, link=usb4:10Gb, accelerator=NAME, nodes=+1, nodes=4, memory=24GiB, bandwidth=2x"
_ASKED = "what if: not a figure of a real part"
_MOST_NODES = 1024
# A hundred times the largest parts of today; more is a slip of the hand.
_MOST_BITS_PER_SECOND, _MOST_BYTES_PER_SECOND, _MOST_BYTES = 160e12, 2e15, 64 * 1024 * GIB

_PartChange = Callable[[Accelerator], Accelerator]
_NodeChange = Callable[[Node], Node]


def apply(cluster: Cluster, change: str, parts: Mapping[str, Accelerator]) -> Cluster:
    """The cluster with a change. `parts` are the accelerators of the catalogue by name.

    Raises PlanError for a change that cannot be read, with the forms that can.
    """
    key, equals, value = change.partition("=")
    changes = {"link": _link, "nodes": _nodes, "memory": _memory, "bandwidth": _bandwidth}
    if not equals or not value:
        raise PlanError(f"--what-if {change!r} is no change; write one of {FORMS}")
    if key == "accelerator":
        return _accelerator(cluster, value, parts)
    if key not in changes:
        raise PlanError(f"--what-if {change!r}: {key!r} cannot be changed; write one of {FORMS}")
    return changes[key](cluster, value)


def rate(text: str) -> float:
    """Bits a second of 1Gb, 2.5Gb, 100Mb, 40Gb/s; PlanError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([GMT])(?:b|bit|b/s|bit/s|bps)?", text, re.IGNORECASE)
    value = float(found.group(1)) * {"M": 1e6, "G": 1e9, "T": 1e12}[found.group(2).upper()] if found else 0.0
    if value <= 0:
        raise PlanError(f"link rate {text!r} is no rate; write it as in 2.5Gb or 100Mb")
    if value > _MOST_BITS_PER_SECOND:
        raise PlanError(
            f"link rate {text!r} is more than the {_MOST_BITS_PER_SECOND / 1e12:.0f}Tb that can be planned for"
        )
    return value


def _link(cluster: Cluster, value: str) -> Cluster:
    word, colon, speed = value.rpartition(":")
    kinds: dict[str, LinkKind] = {kind: kind for kind in get_args(LinkKind)}
    kind = kinds.get(word if colon else "ethernet")
    if kind is None:
        raise PlanError(f"link kind {word!r} is not known; known are {', '.join(kinds)}")
    members = tuple(node.name for node in cluster.compute)
    link = Link(kind, members, Figure(rate(speed), _ASKED))
    return replace(cluster, links=(link,))


def _nodes(cluster: Cluster, value: str) -> Cluster:
    found = re.fullmatch(r"([+-]?)(\d+)", value)
    if not found:
        raise PlanError(f"--what-if nodes={value}: write nodes=4, nodes=+1 or nodes=-1")
    number = int(found.group(2))
    wanted = {"+": len(cluster.compute) + number, "-": len(cluster.compute) - number}.get(found.group(1), number)
    if not 1 <= wanted <= _MOST_NODES:
        raise PlanError(f"--what-if nodes={value}: that makes {wanted} compute nodes; there can be 1 to {_MOST_NODES}")
    kept = cluster.compute[:wanted]
    first = cluster.compute[0]
    added = tuple(replace(first, name=f"added{index}") for index in range(wanted - len(kept)))
    gone = {node.name for node in cluster.compute} - {node.name for node in kept}
    every = {node.name for node in cluster.compute}
    links = []
    for link in cluster.links:
        joins_all = every <= set(link.members)
        if added and joins_all and link.kind == "usb4":
            continue  # a cable between two hosts; a third one has no end of it
        members = tuple(name for name in link.members if name not in gone)
        extra = tuple(node.name for node in added) if joins_all else ()
        if len(members) + len(extra) > 1:
            links.append(replace(link, members=members + extra))
    return replace(cluster, compute=kept + added, links=tuple(links))


def _accelerator(cluster: Cluster, value: str, parts: Mapping[str, Accelerator]) -> Cluster:
    wanted = re.sub(r"[^a-z0-9]", "", value.lower())
    found = [part for name, part in parts.items() if wanted and wanted in re.sub(r"[^a-z0-9]", "", name.lower())]
    if len(found) != 1:
        listed = ", ".join(sorted(parts))
        said = "is not in the catalogue" if not found else "fits more than one part"
        raise PlanError(f"accelerator {value!r} {said}; there are {listed}")
    part = found[0]

    def changed(node: Node) -> Node:
        count = max(1, len(node.engine_accelerators))
        return replace(node, accelerators=(part,) * count)

    return replace(cluster, compute=tuple(changed(node) for node in cluster.compute))


def _memory(cluster: Cluster, value: str) -> Cluster:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*GiB", value, re.IGNORECASE)
    if not found or float(found.group(1)) <= 0:
        raise PlanError(f"--what-if memory={value}: write it as in 24GiB (a card that is sold as 24 GB has 24GiB)")
    if float(found.group(1)) * GIB > _MOST_BYTES:
        raise PlanError(f"--what-if memory={value}: more than the {_MOST_BYTES / GIB:.0f}GiB that can be planned for")
    size = Figure(float(found.group(1)) * GIB, _ASKED)
    return _each(cluster, lambda part: replace(part, memory_bytes=size), lambda node: replace(node, memory_bytes=size))


def _bandwidth(cluster: Cluster, value: str) -> Cluster:
    times = re.fullmatch(r"(\d+(?:\.\d+)?)x", value)
    absolute = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:GB/s|GBps)", value)
    if not (times or absolute) or float((times or absolute).group(1)) <= 0:  # type: ignore[union-attr]
        raise PlanError(f"--what-if bandwidth={value}: write 2x or 1000GB/s")
    largest = 1000.0 if times else _MOST_BYTES_PER_SECOND / GIGA
    if float((times or absolute).group(1)) > largest:  # type: ignore[union-attr]
        unit = "x" if times else "GB/s"
        raise PlanError(f"--what-if bandwidth={value}: more than the {largest:.0f}{unit} that can be planned for")

    def new(figure: Figure) -> Figure:
        if times:
            return Figure(figure.value * float(times.group(1)), _ASKED)
        return Figure(float(absolute.group(1)) * GIGA if absolute else figure.value, _ASKED)

    def node(old: Node) -> Node:
        known = old.memory_bandwidth_bytes_per_second
        return replace(old, memory_bandwidth_bytes_per_second=new(known)) if known else old

    return _each(
        cluster,
        lambda part: replace(part, memory_bandwidth_bytes_per_second=new(part.memory_bandwidth_bytes_per_second)),
        node,
    )


def _each(cluster: Cluster, part: _PartChange, node: _NodeChange) -> Cluster:
    compute = []
    for old in cluster.compute:
        if old.engine_accelerators:
            compute.append(replace(old, accelerators=tuple(part(entry) for entry in old.accelerators)))
        else:
            compute.append(node(old))
    return replace(cluster, compute=tuple(compute))
