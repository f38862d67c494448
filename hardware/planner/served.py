"""What is served, and where: a model with its engine, the devices that engines may run on, and how an engine is cut.

Pure. `fit.py` judges whether one fits the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from hardware.model import Node, RuntimeKind
from hardware.planner.architecture import Dtype, EngineKind, Model, Sizes
from hardware.planner.rates import Device, device_of
from hardware.planner.tensors import Sharding

Mode = Literal["replicas", "span"]
SpanBy = Literal["pipeline", "tensor"]
KINDS: tuple[RuntimeKind, ...] = get_args(RuntimeKind)
DTYPES: tuple[Dtype, ...] = ("bfloat16", "float16", "float32")
VLLM: tuple[EngineKind, ...] = ("vllm", "auto")  # "auto" is told by the weights; it is judged as vLLM's


@dataclass(frozen=True)
class ServedModel:
    """A model as something to serve: its engine, its shape, and the data types it computes in, the best first.

    `shape` None: nobody knows it before the hub was asked. A kind without a data type cannot run it. `written` is its
    name in an inventory; "" where an inventory cannot have it.
    """

    name: str
    shape: Model | Sizes | None
    engine: EngineKind = "vllm"
    dtypes: Mapping[RuntimeKind, tuple[Dtype, ...]] = field(default_factory=lambda: dict.fromkeys(KINDS, DTYPES))
    maximum_length: int | None = None
    written: str = ""

    @property
    def length(self) -> int | None:
        """Longest context that is served where nobody says another."""
        return self.maximum_length or (self.shape.maximum_length if self.shape else None)


@dataclass(frozen=True)
class Place:
    """Where engines may run: `nodes` alike with `per_node` ranks each. Of unlike `devices` each has to hold a rank.

    `sharing` engines have the same host's memory. A device without a figure for its memory: nobody has said.
    """

    kind: RuntimeKind
    devices: tuple[Device, ...]
    nodes: int
    per_node: int = 1
    sharing: int = 1

    def to_json(self) -> dict[str, Any]:
        """Stable shape for --json."""
        known = [device.memory_bytes for device in self.devices if device.memory_bytes is not None]
        smallest, host = (int(min(known)) if known else None), self.kind == "cpu"
        return {
            "kind": self.kind,
            "nodes": self.nodes,
            "accelerators": 0 if host else self.per_node,
            "accelerator_bytes": None if host else smallest,
            "host_bytes": smallest if host else None,
            "sharing": self.sharing,
            "architectures": [] if host else sorted({device.architecture for device in self.devices}),
        }


def place_of(nodes: Sequence[Node], *, host_bytes: int | None = None, sharing: int = 1) -> Place:
    """The place that some nodes of a profile give; `host_bytes` where it states no memory of a host."""
    cards = [node.engine_accelerators for node in nodes]
    if count := min(len(parts) for parts in cards):
        parts = {part: device_of(node, part) for node in nodes for part in node.engine_accelerators}
        return Place(next(iter(parts)).runtime_kind, tuple(parts.values()), len(nodes), count)
    devices = [device_of(node, None) for node in nodes]
    smallest = min(devices, key=lambda device: device.memory_bytes or math.inf)
    if smallest.memory_bytes is None:
        return Place("cpu", (replace(smallest, memory_bytes=host_bytes),), len(nodes), sharing=sharing)
    return Place("cpu", (smallest,), len(nodes))


def cut(served: ServedModel, place: Place, mode: Mode = "replicas", by: SpanBy = "pipeline") -> Sharding:
    """How an inventory's words cut an engine. Whole experts are placed wherever there are several ranks for them."""
    tensor = place.per_node if served.engine in VLLM else 1
    pipeline = 1
    if mode == "span":
        tensor, pipeline = (tensor, place.nodes) if by == "pipeline" else (tensor * place.nodes, 1)
    mixture = served.shape is not None and served.shape.is_mixture
    return Sharding(tensor, pipeline, 1, mixture and tensor > 1)


def uncut(shape: Model | Sizes, sharding: Sharding) -> str:
    """Why vLLM does not cut a model that way; "" where it does."""
    heads = shape.attention.query_heads if isinstance(shape, Model) else shape.query_heads
    layers = len(shape.layers) if isinstance(shape, Model) else shape.layers
    if heads % sharding.tensor:
        return f"TP {sharding.tensor} does not divide the {heads} attention heads"
    if isinstance(shape, Model):
        width = shape.experts.intermediate_size if shape.experts is not None else shape.intermediate_size
        group = max(1, shape.quantisation.group_size) if shape.quantisation.bits <= 4 else 1
        if width % (sharding.tensor * group):
            return f"TP {sharding.tensor} does not divide the MLP's width in whole quantisation groups"
        if sharding.expert_parallel and (shape.experts is None or shape.experts.count % sharding.expert_ranks):
            return f"EP {sharding.expert_ranks} does not divide the experts"
    if layers and sharding.pipeline > layers:
        return f"PP {sharding.pipeline} is more than the {layers} layers"
    return ""
