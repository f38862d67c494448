"""Whether a model fits a cluster: weights, cache for one request of full length and the engine's own, against memory.

Pure arithmetic on the catalogue's and the profile's numbers; bytes. It answers "can this be at all", before anything is
fetched. How a model is best cut and how fast it will be is the planner's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardware.model import GIB, Cluster, RuntimeKind
from inventories.models.catalogue import Entry

# What an engine takes beside weights and cache. On a CPU: Python, torch and vLLM's processes, as resident on the
# laptop cluster (3 GiB an engine, of which SmolLM2 is 0.6). On an accelerator: context, activations, workspace.
OVERHEAD_BYTES = {
    ("vllm", "host"): int(2.4 * GIB),
    ("transformers", "host"): int(1.0 * GIB),
    ("llama.cpp", "host"): int(0.5 * GIB),
    ("vllm", "accelerator"): int(1.5 * GIB),
    ("transformers", "accelerator"): int(1.0 * GIB),
    ("llama.cpp", "accelerator"): int(1.0 * GIB),
}
USABLE_SHARE = 0.9  # vLLM's own default share of an accelerator's memory
HOST_RESERVE_BYTES = GIB  # for the system and Ray


@dataclass(frozen=True)
class Place:
    """Where engines may run: `nodes` alike, each with accelerators or with host memory. None: nobody has said."""

    kind: RuntimeKind
    nodes: int
    accelerators: int = 0
    accelerator_bytes: int | None = None
    host_bytes: int | None = None

    @property
    def usable_bytes(self) -> int | None:
        """Memory of one node that an engine may use."""
        if self.accelerators:
            if self.accelerator_bytes is None:
                return None
            return int(self.accelerator_bytes * USABLE_SHARE) * self.accelerators
        return None if self.host_bytes is None else max(self.host_bytes - HOST_RESERVE_BYTES, 0)


@dataclass(frozen=True)
class Fit:
    """The judgement. `ok` None: it could not be told. `nodes` 1: an engine a node; more: one engine over all."""

    ok: bool | None
    dtype: str
    needed_bytes: int
    available_bytes: int | None
    nodes: int
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Stable shape for --json."""
        return dict(vars(self))


def place_of(cluster: Cluster, *, host_bytes: int | None = None) -> Place:
    """The place that a profile gives: its weakest compute node counts. `host_bytes` where the profile states none."""
    cards = [node.engine_accelerators for node in cluster.compute]
    count = min(len(parts) for parts in cards)
    if count:
        smallest = min(part.memory_bytes.value for parts in cards for part in parts)
        return Place(cluster.runtime_kind, len(cluster.compute), count, int(smallest))
    stated = [int(node.memory_bytes.value) for node in cluster.compute if node.memory_bytes]
    return Place("cpu", len(cluster.compute), host_bytes=min(stated) if stated else host_bytes)


def needed_bytes(entry: Entry, dtype: str, *, ranks: int = 1, on: str = "host") -> int:
    """Bytes of one engine cut into `ranks`: weights, one request of full length in the cache, overhead a rank."""
    engine = "vllm" if entry.engine_kind == "auto" else entry.engine_kind
    cache = entry.cache_bytes_a_token(dtype) * entry.maximum_length
    return entry.weights_bytes(dtype) + cache + OVERHEAD_BYTES[engine, on] * ranks


def minimum_accelerator_bytes(entry: Entry) -> int:
    """The smallest accelerator that holds the model alone, in its leanest data type."""
    leanest = min(entry.dtypes, key=entry.weights_bytes)
    return int(needed_bytes(entry, leanest, on="accelerator") / USABLE_SHARE)


def fit(entry: Entry, place: Place, dtype: str = "") -> Fit:
    """Judge kind, data type, cut and memory, in this order; the first that does not hold is the answer."""
    on = "accelerator" if place.accelerators else "host"
    allowed = entry.dtypes_on(place.kind)

    def no(detail: str, remedy: str, needed: int = 0) -> Fit:
        return Fit(False, dtype, needed, place.usable_bytes, 1, detail, remedy)

    if not allowed:
        what = f"its {entry.quantization} weights" if entry.quantization else "it"
        return no(f"{what} cannot run on {place.kind}", f"serve it on {_other_kinds(entry)}, or take another model")
    if dtype in ("", "auto"):
        dtype = allowed[0]
    if dtype not in allowed:
        return no(f"it does not compute in {dtype} on {place.kind}", f"use {' or '.join(allowed)}")
    if not entry.parameters:
        return Fit(None, dtype, 0, place.usable_bytes, 1, "its size is known when the hub was asked")
    ranks = max(place.accelerators, 1) if entry.engine_kind != "transformers" else 1
    needed = needed_bytes(entry, dtype, ranks=ranks, on=on)
    usable = place.usable_bytes
    if usable is None:
        return Fit(None, dtype, needed, None, 1, f"it needs {gib(needed)}; the profile states no memory of its nodes")
    if ranks < place.accelerators:
        usable //= place.accelerators
    heads_divide = entry.attention_heads % ranks == 0
    if needed <= usable and heads_divide:
        return Fit(True, dtype, needed, usable, 1, f"{gib(needed)} of {gib(usable)} a node")
    if place.accelerators and place.nodes > 1 and entry.engine_kind == "vllm" and heads_divide:
        ranks *= place.nodes
        everywhere = needed_bytes(entry, dtype, ranks=ranks, on=on)
        if everywhere <= usable * place.nodes and entry.layers >= place.nodes:
            detail = f"{gib(everywhere)} of {gib(usable * place.nodes)} over {place.nodes} nodes"
            return Fit(True, dtype, everywhere, usable * place.nodes, place.nodes, detail, 'serve it with mode="span"')
    if not heads_divide:
        return no(
            f"{entry.attention_heads} attention heads are not divided by {ranks} accelerators", "use fewer", needed
        )
    remedy = "take a smaller or a quantised model, or more memory"
    return Fit(False, dtype, needed, usable, 1, f"it needs {gib(needed)}, a node has {gib(usable)}", remedy)


def limits(entry: Entry, place: Place, dtype: str = "") -> dict[str, Any]:
    """What fetch_model.py judges the hub's own sizes by before the first byte; empty where no memory is known."""
    usable = place.usable_bytes
    allowed = entry.dtypes_on(place.kind)
    if usable is None or not allowed:
        return {}
    dtype = allowed[0] if dtype in ("", "auto") else dtype
    on = "accelerator" if place.accelerators else "host"
    spans = place.nodes if place.accelerators and entry.engine_kind in ("vllm", "auto") else 1
    ranks = max(place.accelerators, 1) * spans
    where = f"{spans} nodes" if spans > 1 else "a node"
    other = needed_bytes(entry, dtype, ranks=ranks, on=on) - entry.weights_bytes(dtype)
    return {"where": where, "memory_bytes": usable * spans, "other_bytes": other, "dtype": dtype}


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / 2**20:.0f} MiB"


def _other_kinds(entry: Entry) -> str:
    return " or ".join(kind for kind in ("cuda", "rocm", "cpu") if entry.dtypes_on(kind)) or "nothing"
