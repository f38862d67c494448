"""Whether a model fits: the one judgement, for plans, inventories, hosts and fetches. Pure; bytes.

In this order: kind of runtime, data type, kernels, cut, context, memory; the first that does not hold is the answer.
`fit` judges one engine, cut in a given way, at a place. `fit_as` judges what an inventory declares, `fit_on_host` what
was declared against a host's own memory, and `room_for_weights` is the same sum for weights of a size yet unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

from hardware.model import GIB, RuntimeKind
from hardware.planner import assumptions, kernels
from hardware.planner.architecture import Dtype, Model, Sizes
from hardware.planner.calibration import Calibration
from hardware.planner.memory import RankMemory, budget_bytes, rank_memory, sizes_memory
from hardware.planner.options import LARGE_DEVICE_BYTES, Options
from hardware.planner.rates import Device
from hardware.planner.served import KINDS, VLLM, Mode, Place, ServedModel, SpanBy, cut, uncut
from hardware.planner.tensors import WHOLE, Sharding

PLAIN = Options()
SPAN = 'serve it with mode="span"'
SMALLER = "take a smaller or a quantised model, a shorter max_model_len, or more memory"


@dataclass(frozen=True)
class FitJudgement:
    """The judgement. `ok` None: it could not be told. `nodes` 1: an engine a node; more: one engine over all.

    `ranks`: the memory of each stage on the device that it fits worst; empty where it did not come to that.
    """

    ok: bool | None
    dtype: str
    needed_bytes: int
    available_bytes: int | None
    nodes: int
    detail: str
    remedy: str = ""
    ranks: tuple[RankMemory, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Stable shape for --json."""
        return {name: value for name, value in vars(self).items() if name != "ranks"}


def fit(
    served: ServedModel,
    place: Place,
    sharding: Sharding = WHOLE,
    options: Options = PLAIN,
    calibration: Calibration | None = None,
) -> FitJudgement:
    """Judge one engine of a model at a place. `options.dtype` None: the best that there are kernels for."""
    spans = math.ceil(sharding.ranks / place.per_node)

    def no(detail: str, remedy: str) -> FitJudgement:
        return FitJudgement(False, dtype, 0, None, spans, detail, remedy)

    dtype: str = options.dtype or ""
    allowed = served.dtypes.get(place.kind, ())
    if not allowed:
        method = served.shape.quantisation.origin if served.shape else ""
        elsewhere = " or ".join(kind for kind in ("cuda", "rocm", "cpu") if served.dtypes.get(kind)) or "nothing"
        what = f"its {method} weights" if method else "it"
        return no(f"{what} cannot run on {place.kind}", f"serve it on {elsewhere}, or take another model")
    dtype = options.dtype or dtype_of(served, place)
    if dtype not in allowed:
        return no(f"it does not compute in {dtype} on {place.kind}", f"use {' or '.join(allowed)}")
    if missing := _no_kernel(served, place, dtype):
        return no(missing, "take another quantisation or data type of the model, or another accelerator")
    if served.shape is None:
        return FitJudgement(None, dtype, 0, None, spans, "its size is known when the hub was asked")
    if why := uncut(served.shape, sharding):
        return no(why, "use fewer accelerators, or span by pipeline")
    length = options.max_model_len or served.length
    if isinstance(served.shape, Model) and length and length > served.shape.longest(place.kind):
        longest = served.shape.longest(place.kind)
        return no(f"context {length} is more than its {longest} tokens", "shorten max_model_len")
    chosen = replace(options, dtype=dtype, max_model_len=length)
    return _memory(served, place, sharding, chosen, calibration, spans)


def _memory(
    served: ServedModel, place: Place, sharding: Sharding, options: Options, calibration: Calibration | None, spans: int
) -> FitJudgement:
    unknown = _unknown(place, calibration)
    known = tuple(replace(device, memory_bytes=math.inf) for device in place.devices) if unknown else place.devices
    every = [_ranks(served, device, sharding, options, calibration, place.sharing) for device in known]
    ranks = max(every, key=lambda stages: max(rank.short_bytes for rank in stages))
    alike = sharding.ranks // len(ranks)
    needed = math.ceil(sum(rank.needed_bytes for rank in ranks) * alike)
    dtype = str(options.dtype)
    if unknown:
        detail = f"it needs {gib(needed)}; the profile states no memory of its nodes"
        return FitJudgement(None, dtype, needed, None, spans, detail, "", ranks)
    available = int(sum(rank.budget_bytes for rank in ranks) * alike)
    where = "a node" if spans == 1 else f"over {spans} nodes"
    fullest = max(ranks, key=lambda rank: rank.short_bytes)
    if fullest.fits:
        detail = f"{gib(needed)} of {gib(available)} {where}"
        return FitJudgement(True, dtype, needed, available, spans, detail, SPAN if spans > 1 else "", ranks)
    has = "a node has" if spans == 1 else f"{spans} nodes have"
    short = f"{gib(math.ceil(fullest.short_bytes))} too little"
    short += f" on each of {alike * len(ranks)} ranks" if alike > 1 else f" in stage {fullest.stage}" * (len(ranks) > 1)
    detail = f"it needs {gib(needed)}, {has} {gib(available)}: {short}; {parts_of(fullest)}"
    return FitJudgement(False, dtype, needed, available, spans, detail, SMALLER, ranks)


def parts_of(rank: RankMemory) -> str:
    """What a rank's memory goes to, in words."""
    own = rank.context_bytes + rank.graph_bytes + rank.communicator_bytes
    parts = [f"weights {gib(rank.weights_bytes)}", f"activations {gib(rank.activation_bytes)}", f"engine {gib(own)}"]
    told = f"the cache {gib(rank.cache_bytes)}"
    asked = f"one request of {rank.length_tokens} tokens {gib(rank.cache_bytes)}"
    return ", ".join((*parts, asked if rank.cache_bytes == rank.sequence_bytes else told))


def _ranks(
    served: ServedModel,
    device: Device,
    sharding: Sharding,
    options: Options,
    calibration: Calibration | None,
    engines: int,
) -> tuple[RankMemory, ...]:
    dtype = cast(Dtype, options.dtype)
    if isinstance(served.shape, Model):
        model = replace(served.shape, dtype=dtype)
        return tuple(
            rank_memory(model, sharding, stage, device, options, calibration, engines=engines)
            for stage in range(sharding.pipeline)
        )
    sizes = replace(cast(Sizes, served.shape), dtype=dtype)
    return (sizes_memory(sizes, served.engine, sharding, device, options, calibration, engines),)


def _unknown(place: Place, calibration: Calibration | None) -> bool:
    measured = calibration is not None and calibration.memory_bytes is not None
    return not measured and any(device.memory_bytes is None for device in place.devices)


def dtype_of(served: ServedModel, place: Place) -> Dtype:
    """The data type where nobody chose one: the checkpoint's own if 16 bits wide, else the best with kernels here."""
    allowed = served.dtypes[place.kind]
    own = served.shape.dtype if isinstance(served.shape, Model) else None
    ordered = (own, *allowed) if own in allowed and own != "float32" else allowed
    return next((one for one in ordered if one and not _no_kernel(served, place, one)), allowed[0])


def _no_kernel(served: ServedModel, place: Place, dtype: str) -> str:
    """Why no kernel of vLLM's computes the model here; "" where one does, or where another engine computes."""
    if served.engine not in VLLM or served.shape is None:
        return ""
    for device in place.devices:
        found = kernels.support_of(place.kind, device.architecture, served.shape.quantisation, cast(Dtype, dtype))
        if not found.ok:
            return f"vLLM has no kernel for it on {device.architecture}: {'; '.join(found.reasons)}"
        if found.dtype != dtype:
            return f"vLLM's kernel for it on {device.architecture}, {found.kernel}, takes {found.dtype}, not {dtype}"
    return ""


def fit_as(
    served: ServedModel, place: Place, options: Options, mode: Mode | None = None, by: SpanBy = "pipeline"
) -> FitJudgement:
    """Judge what an inventory declares; without a `mode` an engine a node, or where that is too much one over all."""
    spannable = place.kind != "cpu" and served.engine in VLLM
    if mode == "span":
        return fit(served, place, cut(served, place, "span", by), options)
    judged = fit(served, place, cut(served, place), options)
    if judged.ok is False and spannable and place.nodes > 1:
        over_all = fit(served, place, cut(served, place, "span", by), options)
        if over_all.ok:
            return over_all if mode is None else replace(judged, remedy=SPAN)
    return judged


def fit_on_host(
    needed_bytes: int, memory_bytes: int, reserve_bytes: int, share: float = 1.0, other_bytes: int = 0
) -> FitJudgement:
    """Judge an engine's need against a host's own memory, less what the system and other engines take of it."""
    left = _left_on_host(memory_bytes, reserve_bytes, share) - other_bytes
    others = f" and {gib(other_bytes)} for its other engines" if other_bytes else ""
    has = f"the host has {gib(memory_bytes)}, less {gib(reserve_bytes)} for the system{others}"
    detail = f"it needs {gib(needed_bytes)}; {has}"
    if needed_bytes <= left:
        return FitJudgement(True, "", needed_bytes, left, 1, detail)
    detail += f": {gib(needed_bytes - left)} too little"
    return FitJudgement(False, "", needed_bytes, left, 1, detail, f"{SMALLER}, or fewer replicas")


def _left_on_host(memory_bytes: int, reserve_bytes: int, share: float) -> int:
    host = Device("host", "host", "cpu", "cpu", memory_bytes=memory_bytes, reserve_bytes=reserve_bytes)
    return int(budget_bytes(memory_bytes, host, share))


@dataclass(frozen=True)
class WeightsRoom:
    """Room for the weights of one engine. `bytes` None: the host's memory, less the rest, has to tell.

    `other_bytes` is what the engine needs beside them, `reserve_bytes` and `share` are the host's.
    """

    dtype: str
    nodes: int
    bytes: int | None
    other_bytes: int
    reserve_bytes: int
    share: float


def room_for_weights(served: ServedModel, place: Place, sharding: Sharding, options: Options) -> WeightsRoom | None:
    """What a fetch judges a hub's own sizes by; None where the model cannot run at all."""
    if options.dtype not in (None, *served.dtypes.get(place.kind, ())) or not served.dtypes.get(place.kind):
        return None
    dtype = options.dtype or dtype_of(served, place)
    unknown = Sizes(served.name, 0, 0, 0, 0, served.length or 1, dtype=dtype)
    known = replace(served, shape=served.shape or unknown)
    spans = math.ceil(sharding.ranks / place.per_node)
    chosen = replace(options, dtype=dtype, max_model_len=options.max_model_len or known.length)
    judged = _memory(known, place, sharding, chosen, None, spans)
    held = sum(rank.weights_bytes for rank in judged.ranks) * (sharding.ranks // max(1, len(judged.ranks)))
    other = judged.needed_bytes - int(held)
    room = None if judged.available_bytes is None else judged.available_bytes - other
    return WeightsRoom(dtype, judged.nodes, room, other, reserve_of(place), share_of(served, options))


def host_bytes(kind: str, needed_bytes: int) -> int:
    """An engine's part of a host's memory: all that it needs on a processor, its processes beside an accelerator."""
    known = needed_bytes if kind == "cpu" else 0
    return known or int(assumptions.PROCESSOR_BYTES.worst)


def room_on_host(other_bytes: int, memory_bytes: int, reserve_bytes: int, share: float, engines: int) -> int:
    """The room for the weights of one of so many engines that have a host's memory, beside what else each needs."""
    return _left_on_host(memory_bytes, reserve_bytes, share) // engines - other_bytes


def reserve_of(place: Place) -> int:
    """What the system keeps of a host's memory."""
    return int(max(device.reserve_bytes for device in place.devices))


def share_of(served: ServedModel, options: Options) -> float:
    """What vLLM lets itself use of a host's memory; all of it where the cache's size is given, or by other engines."""
    plain = options.kv_cache_memory_bytes is not None or served.engine not in VLLM
    return 1.0 if plain else options.gpu_memory_utilization


def smallest_accelerator_bytes(served: ServedModel) -> int | None:
    """The smallest accelerator that holds the model alone, in its leanest data type; None where nobody knows."""
    if served.shape is None:
        return None
    cards = [kind for kind in KINDS if kind != "cpu"]
    found = [_alone(served, kind, dtype) for kind in cards for dtype in served.dtypes.get(kind, ())]
    return min(found, default=None)


def _alone(served: ServedModel, kind: RuntimeKind, dtype: Dtype) -> int:
    """Bytes of a card for one engine: by a small card's defaults, unless that is more than such a card has."""
    options = Options(dtype=dtype, max_model_len=served.length)
    for most in (0.0, math.inf):
        card = Device("card", "card", kind, "", memory_bytes=most)
        (rank,) = _ranks(served, card, WHOLE, options, None, 1)
        needed = math.ceil(rank.needed_bytes / options.gpu_memory_utilization)
        if needed < LARGE_DEVICE_BYTES:
            break
    return needed


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / 2**20:.0f} MiB"
