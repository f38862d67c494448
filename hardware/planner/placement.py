"""Every way to cut a model over a cluster's accelerators, and which paths its ranks then talk over. Pure.

Ranks are laid out as vLLM does: tensor-parallel ranks next to each other, then pipeline stages, then data-parallel
groups; so an engine's tensor group leaves a node only when it is larger than the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hardware.model import Cluster, Link
from hardware.planner import assumptions
from hardware.planner.architecture import Model, Sizes
from hardware.planner.assumptions import Assumption
from hardware.planner.calibration import Calibration
from hardware.planner.collectives import Path
from hardware.planner.errors import MissingFigure, PlanError
from hardware.planner.rates import Device, Level, device_of, pick
from hardware.planner.served import Mode, Place, ServedModel, SpanBy, cut, uncut
from hardware.planner.tensors import Sharding

PEER = "peer"


@dataclass(frozen=True)
class Hardware:
    """A cluster as the planner uses it: equal nodes with the same accelerators. `link` joins all compute nodes."""

    name: str
    device: Device
    nodes: int
    devices_per_node: int
    links: tuple[Link, ...]
    one_machine: bool

    @property
    def devices(self) -> int:
        """Ranks that there can be."""
        return self.nodes * self.devices_per_node

    @property
    def place(self) -> Place:
        """Where engines run, for the judgement of fit."""
        return Place(self.device.runtime_kind, (self.device,), self.nodes, self.devices_per_node)

    def sharing(self, replicas: int) -> int:
        """How many of so many engines have one memory: all, where one machine plays nodes without their own."""
        shared = self.one_machine and self.device.runtime_kind == "cpu" and self.device.memory_bytes is None
        return replicas if shared else 1


def hardware_of(cluster: Cluster) -> Hardware:
    """The planner's view of a profile.

    PlanError when nodes differ: one engine runtime serves equal ranks, and a plan for the weakest would be a guess.
    """
    devices = []
    for node in cluster.compute:
        usable = node.engine_accelerators
        if node.accelerators and not usable:
            notes = "; ".join(f"{part.name}: {part.engine_note}" for part in node.accelerators)
            raise PlanError(f"profile {cluster.name}: {node.name} has no accelerator that vLLM can use: {notes}")
        names = {part.name for part in usable}
        if len(names) > 1:
            mixed = ", ".join(sorted(names))
            raise PlanError(f"profile {cluster.name}: {node.name} mixes {mixed}; plan for one of them")
        devices.append((device_of(node, usable[0] if usable else None), max(1, len(usable))))
    kinds = {(device.name, count) for device, count in devices}
    if len(kinds) > 1:
        listed = ", ".join(f"{count} x {name}" for name, count in sorted(kinds))
        raise PlanError(f"profile {cluster.name}: compute nodes differ ({listed}); make a profile of the equal ones")
    members = {node.name for node in cluster.compute}
    links = tuple(link for link in cluster.links if members <= set(link.members))
    one_machine = bool(links) and all(link.kind in ("loopback", "virtual") for link in links)
    return Hardware(cluster.name, devices[0][0], len(devices), devices[0][1], links, one_machine)


@dataclass(frozen=True)
class Placement:
    """`replicas` engines, each cut by `sharding`; `link` is what joins nodes, None when no engine leaves its node."""

    replicas: int
    sharding: Sharding
    link: Link | None
    idle_devices: int = 0

    @property
    def name(self) -> str:
        """A short name, unique within a plan."""
        engines = f"{self.replicas} x " if self.replicas > 1 else ""
        over = f" over {link_name(self.link)}" if self.link is not None else ""
        return f"{engines}({self.sharding}){over}" if engines else f"{self.sharding}{over}"


def link_name(link: Link) -> str:
    """Kind and rate of a link; also the name of its path in a calibration."""
    gigabits = link.bits_per_second.value / 1e9
    return f"{link.kind} {gigabits:g} Gb/s"


def said_as(served: ServedModel, hardware: Hardware, placement: Placement) -> tuple[Mode, SpanBy] | None:
    """The inventory's words for a placement (inventories.composition.serving.Serving); None where it has none."""
    ways: tuple[tuple[Mode, SpanBy, int], ...] = (
        ("replicas", "pipeline", hardware.nodes),
        ("span", "pipeline", 1),
        ("span", "tensor", 1),
    )
    for mode, by, engines in ways:
        if placement.replicas == engines and placement.sharding == cut(served, hardware.place, mode, by):
            return mode, by
    return None


def placements(hardware: Hardware, model: Model | Sizes | None) -> tuple[tuple[Placement, ...], tuple[str, ...]]:
    """(every placement that vLLM would accept, why whole kinds of placement are left out).

    An engine takes whole nodes, or an equal part of one. Replicas fill what is there. Several links between the nodes
    give one placement each. A model whose layers are not known is not cut.
    """
    found: list[Placement] = []
    reasons: list[str] = []
    if not isinstance(model, Model):
        return (Placement(hardware.nodes, Sharding(), None, hardware.devices - hardware.nodes),), ()
    if hardware.device.runtime_kind == "cpu":
        reasons.append(
            "no engine spans processors: vLLM's CPU platform does not run over Ray, so a CPU cluster scales by replicas"
        )
    for sharding in _shardings(hardware, model, reasons):
        inside = sharding.ranks <= hardware.devices_per_node
        if inside:
            per_node = hardware.devices_per_node // sharding.ranks
            replicas, links = per_node * hardware.nodes, (None,)
            idle = hardware.devices - replicas * sharding.ranks
            found += [Placement(replicas, sharding, link, idle) for link in links]
        else:
            if not hardware.links:
                _once(reasons, "no link joins all compute nodes, so no engine spans them; add it to the profile")
                continue
            replicas = hardware.devices // sharding.ranks
            idle = hardware.devices - replicas * sharding.ranks
            found += [Placement(replicas, sharding, link, idle) for link in hardware.links]
    if not model.is_mixture:
        reasons.append(f"expert parallelism has nothing to place: {model.name} is dense, it has no experts")
    return tuple(found), tuple(reasons)


def _shardings(hardware: Hardware, model: Model, reasons: list[str]) -> Iterator[Sharding]:
    most = 1 if hardware.device.runtime_kind == "cpu" else hardware.devices
    per_node = hardware.devices_per_node
    for ranks in _divisors(most):
        whole = ranks % per_node == 0 or per_node % ranks == 0
        if not whole:
            continue
        for tensor in _divisors(ranks):
            if why := uncut(model, Sharding(tensor)):
                _once(reasons, why)
                continue
            for pipeline in _divisors(ranks // tensor):
                if why := uncut(model, Sharding(1, pipeline)):
                    _once(reasons, why)
                    continue
                data = ranks // tensor // pipeline
                if data == 1:
                    yield Sharding(tensor, pipeline)
                    if tensor > 1 and model.is_mixture and _spread(model, tensor):
                        yield Sharding(tensor, pipeline, 1, expert_parallel=True)
                elif model.is_mixture and _spread(model, tensor * data):
                    # DP inside one engine only pays with experts spread over its ranks; else replicas do the same.
                    yield Sharding(tensor, pipeline, data, expert_parallel=True)


def _spread(model: Model, ranks: int) -> bool:
    return model.experts is not None and model.experts.count % ranks == 0


def _divisors(number: int) -> list[int]:
    return [value for value in range(1, number + 1) if number % value == 0]


def _once(reasons: list[str], reason: str) -> None:
    if reason not in reasons:
        reasons.append(reason)


def link_path(link: Link, level: Level) -> Path:
    """A link between nodes as a path: its rate times the share that programs get, and one message's latency."""
    fraction, latency = _LINKS[link.kind]
    rate = link.bits_per_second.value / 8 * pick(fraction, level)
    return Path(link_name(link), "network", pick(latency, level), rate)


_LINKS: dict[str, tuple[Assumption, Assumption]] = {
    "ethernet": (assumptions.ETHERNET_FRACTION, assumptions.ETHERNET_LATENCY_SECONDS),
    "usb4": (assumptions.DIRECT_FRACTION, assumptions.DIRECT_LATENCY_SECONDS),
    "loopback": (assumptions.ETHERNET_FRACTION, assumptions.LOOPBACK_LATENCY_SECONDS),
    "virtual": (assumptions.ETHERNET_FRACTION, assumptions.LOOPBACK_LATENCY_SECONDS),
}


def peer_path(hardware: Hardware, calibration: Calibration | None, level: Level) -> Path:
    """The path between cards of one node. MissingFigure when neither the catalogue nor a calibration knows it."""
    rate = hardware.device.peer_bytes_per_second
    if rate is None:
        if calibration is not None and any(curve.path == PEER for curve in calibration.curves):
            return Path(PEER, "peer", pick(assumptions.PEER_LATENCY_SECONDS, level), 1.0)
        raise MissingFigure(
            f"{hardware.device.node}: no figure for the bandwidth between {hardware.device.name} cards in one node; "
            "run `cluster calibrate`, or add peer_bandwidth_bytes_per_second with its source to the part"
        )
    fraction = pick(assumptions.PEER_FRACTION, level)
    return Path(PEER, "peer", pick(assumptions.PEER_LATENCY_SECONDS, level), rate * fraction)


def paths(
    hardware: Hardware, placement: Placement, stage: int, calibration: Calibration | None, level: Level
) -> dict[str, Path]:
    """Path of each group of a stage's ranks: tensor, expert and, towards the stage before, pipeline."""
    sharding, per_node = placement.sharding, hardware.devices_per_node
    found: dict[str, Path] = {}

    def between(crosses: bool) -> Path:
        if crosses:
            if placement.link is None:
                raise PlanError(f"{placement.name}: ranks are on several nodes that no link joins")
            return link_path(placement.link, level)
        return peer_path(hardware, calibration, level)

    if sharding.tensor > 1:
        found["tensor"] = between(sharding.tensor > per_node)
    if sharding.expert_ranks > 1:
        found["expert"] = between(sharding.ranks > per_node)
    if stage > 0:
        first = stage * sharding.tensor
        found["pipeline"] = between(first // per_node != (first - 1) // per_node)
    return found
