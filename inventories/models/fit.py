"""Whether a model fits a cluster: kernels, data type, cut; weights, cache and the engine's own, against memory.

Pure arithmetic on the catalogue's and the profile's numbers; bytes. It answers "can this be at all", before anything is
fetched. How a model is best cut and how fast it will be is the planner's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from hardware.model import GIB, Cluster, Node, RuntimeKind
from hardware.planner import kernels
from hardware.planner.architecture import Dtype, Quantisation
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

# The catalogue's word for a quantisation -> what vLLM's kernels are asked for.
QUANTISATIONS = {
    "awq": Quantisation(method="awq", bits=4, group_size=128, symmetric=False, origin="awq"),
    "gptq": Quantisation(method="gptq", bits=4, group_size=128, origin="gptq"),
    "fp8": Quantisation(method="fp8", bits=8, activations=True, origin="fp8"),
    "mxfp4": Quantisation(method="mxfp4", bits=4, group_size=32, origin="mxfp4"),
}

Mode = Literal["any", "replicas", "span"]


@dataclass(frozen=True)
class Place:
    """Where engines may run: `nodes` alike, each with accelerators or with host memory. None: nobody has said.

    `sharing` engines have the same host memory, where the nodes are one machine. `architectures`: the accelerators'.
    """

    kind: RuntimeKind
    nodes: int
    accelerators: int = 0
    accelerator_bytes: int | None = None
    host_bytes: int | None = None
    sharing: int = 1
    architectures: tuple[str, ...] = ()

    @property
    def usable_bytes(self) -> int | None:
        """Memory of one node that an engine may use."""
        if self.accelerators:
            if self.accelerator_bytes is None:
                return None
            return int(self.accelerator_bytes * USABLE_SHARE) * self.accelerators
        return None if self.host_bytes is None else max(self.host_bytes - HOST_RESERVE_BYTES, 0) // self.sharing


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


def place_of(cluster: Cluster, *, host_bytes: int | None = None, sharing: int = 1) -> Place:
    """The place that a profile gives: its weakest compute node counts. `host_bytes` where the profile states none."""
    return place_of_nodes(cluster.compute, host_bytes=host_bytes, sharing=sharing)


def place_of_nodes(nodes: Sequence[Node], *, host_bytes: int | None = None, sharing: int = 1) -> Place:
    """The place that some nodes of a profile give."""
    cards = [node.engine_accelerators for node in nodes]
    count = min(len(parts) for parts in cards)
    if count:
        every = [part for parts in cards for part in parts]
        architectures = tuple(sorted({part.architecture for part in every}))
        smallest = int(min(part.memory_bytes.value for part in every))
        return Place(every[0].runtime_kind, len(nodes), count, smallest, architectures=architectures)
    stated = [int(node.memory_bytes.value) for node in nodes if node.memory_bytes]
    return Place("cpu", len(nodes), host_bytes=min(stated) if stated else host_bytes, sharing=sharing)


def needed_bytes(
    entry: Entry, dtype: str, *, ranks: int = 1, on: str = "host", options: Mapping[str, Any] | None = None
) -> int:
    """Bytes of one engine cut into `ranks`: weights, one request of full length in the cache, overhead a rank.

    `options` are the engine's: another length, or a size of the cache (a rank), counts instead.
    """
    engine, options = "vllm" if entry.engine_kind == "auto" else entry.engine_kind, options or {}
    cache = entry.cache_bytes_a_token(dtype) * int(options.get("max_model_len") or entry.maximum_length)
    if options.get("kv_cache_memory_bytes"):
        cache = int(options["kv_cache_memory_bytes"]) * ranks
    return entry.weights_bytes(dtype) + cache + OVERHEAD_BYTES[engine, on] * ranks


def minimum_accelerator_bytes(entry: Entry) -> int:
    """The smallest accelerator that holds the model alone, in its leanest data type."""
    leanest = min(entry.dtypes, key=entry.weights_bytes)
    return int(needed_bytes(entry, leanest, on="accelerator") / USABLE_SHARE)


def fit(
    entry: Entry, place: Place, dtype: str = "", *, mode: Mode = "any", options: Mapping[str, Any] | None = None
) -> Fit:
    """Judge kind, data type, kernels, cut and memory, in this order; the first that does not hold is the answer.

    `mode` is how it is declared to be served: an engine a node, or one over all; "any" takes the first that fits.
    """
    on = "accelerator" if place.accelerators else "host"
    allowed = entry.dtypes_on(place.kind)

    def no(detail: str, remedy: str, needed: int = 0) -> Fit:
        return Fit(False, dtype, needed, place.usable_bytes, 1, detail, remedy)

    if not allowed:
        what = f"its {entry.quantization} weights" if entry.quantization else "it"
        return no(f"{what} cannot run on {place.kind}", f"serve it on {_other_kinds(entry)}, or take another model")
    if dtype in ("", "auto"):  # vLLM itself takes another one where its kernels lack the first
        dtype = next((one for one in allowed if not _no_kernel(entry, place, one)), allowed[0])
    if dtype not in allowed:
        return no(f"it does not compute in {dtype} on {place.kind}", f"use {' or '.join(allowed)}")
    if missing := _no_kernel(entry, place, dtype):
        return no(missing, "take another quantisation or data type of the model, or another accelerator")
    if not entry.parameters:
        return Fit(None, dtype, 0, place.usable_bytes, 1, "its size is known when the hub was asked")
    ranks = max(place.accelerators, 1) if entry.engine_kind != "transformers" else 1
    needed = needed_bytes(entry, dtype, ranks=ranks, on=on, options=options)
    usable = place.usable_bytes
    if usable is None:
        return Fit(None, dtype, needed, None, 1, f"it needs {gib(needed)}; the profile states no memory of its nodes")
    if ranks < place.accelerators:
        usable //= place.accelerators
    heads_divide = entry.attention_heads % ranks == 0
    if mode != "span" and needed <= usable and heads_divide:
        return Fit(True, dtype, needed, usable, 1, f"{gib(needed)} of {gib(usable)} a node")
    spans = place.accelerators and entry.engine_kind == "vllm" and heads_divide and entry.layers >= place.nodes
    everywhere = needed_bytes(entry, dtype, ranks=ranks * place.nodes, on=on, options=options)
    if spans and (place.nodes > 1 or mode == "span") and everywhere <= usable * place.nodes:
        if mode == "replicas":
            return no(_too_little(needed, usable), 'serve it with mode="span"', needed)
        detail = f"{gib(everywhere)} of {gib(usable * place.nodes)} over {place.nodes} nodes"
        return Fit(True, dtype, everywhere, usable * place.nodes, place.nodes, detail, 'serve it with mode="span"')
    if not heads_divide:
        return no(
            f"{entry.attention_heads} attention heads are not divided by {ranks} accelerators", "use fewer", needed
        )
    remedy = "take a smaller or a quantised model, or more memory"
    if mode == "span":
        detail = f"{_too_little(everywhere, usable * place.nodes, 'they have')} over {place.nodes} nodes"
        return Fit(False, dtype, everywhere, usable * place.nodes, place.nodes, detail, remedy)
    return Fit(False, dtype, needed, usable, 1, _too_little(needed, usable), remedy)


def _too_little(needed: int, usable: int, has: str = "a node has") -> str:
    return f"it needs {gib(needed)}, {has} {gib(usable)}: {gib(needed - usable)} too little"


def _no_kernel(entry: Entry, place: Place, dtype: str) -> str:
    """Why no kernel of vLLM's computes the model here; "" where one does, or where nobody has said."""
    quantisation = QUANTISATIONS.get(entry.quantization) if entry.quantization else Quantisation()
    if entry.engine_kind not in ("vllm", "auto") or quantisation is None:
        return ""
    for architecture in place.architectures:
        found = kernels.support_of(place.kind, architecture, quantisation, cast(Dtype, dtype))
        if not found.ok:
            return f"vLLM has no kernel for it on {architecture}: {'; '.join(found.reasons)}"
    return ""


def limits(entry: Entry, place: Place, dtype: str = "", *, span: bool = True) -> dict[str, Any]:
    """What fetch_model.py judges the hub's own sizes by before the first byte; empty where it cannot run at all.

    `memory_bytes` is None where no memory is known. `span`: an engine may go over several nodes.
    """
    usable = place.usable_bytes
    allowed = entry.dtypes_on(place.kind)
    if not allowed:
        return {}
    dtype = allowed[0] if dtype in ("", "auto") else dtype
    on = "accelerator" if place.accelerators else "host"
    spans = place.nodes if span and place.accelerators and entry.engine_kind in ("vllm", "auto") else 1
    ranks = max(place.accelerators, 1) * spans
    where = f"{spans} nodes" if spans > 1 else "a node"
    other = needed_bytes(entry, dtype, ranks=ranks, on=on) - entry.weights_bytes(dtype)
    memory = None if usable is None else usable * spans
    return {"where": where, "memory_bytes": memory, "other_bytes": other, "dtype": dtype}


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / 2**20:.0f} MiB"


def _other_kinds(entry: Entry) -> str:
    return " or ".join(kind for kind in ("cuda", "rocm", "cpu") if entry.dtypes_on(kind)) or "nothing"
