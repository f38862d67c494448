"""What a rank's memory holds, and what is short of it. Pure; bytes. `fit.py` judges by it.

The sum is vLLM's own (vllm/v1/worker/gpu_worker.py:determine_available_memory): memory x gpu_memory_utilization, less
weights, less the peak of activations in a profiling step, less what is not PyTorch's, less captured graphs; the rest is
KV cache. vLLM refuses to start when that cannot hold one sequence of max_model_len, and so does the fit here.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, replace

from hardware.planner import assumptions
from hardware.planner import options as engine_options
from hardware.planner.architecture import DTYPE_BYTES, EngineKind, Layer, Model, Sizes
from hardware.planner.calibration import Calibration
from hardware.planner.options import Options
from hardware.planner.rates import Device, Level, memory_size, pick
from hardware.planner.tensors import (
    Sharding,
    embedding_tensors,
    head_tensors,
    layer_tensors,
    pipeline_layers,
    stored_bytes,
)


@dataclass(frozen=True)
class RankMemory:
    """The fullest rank of one pipeline stage. `kv_bytes` is the room for the cache, below zero when there is none.

    `sequence_bytes` is what one sequence of `length_tokens` takes, `cache_bytes` what the engine has to give the cache:
    that, or a size that it was told. `short_bytes` is above zero when it does not fit.
    """

    stage: int
    device: str
    memory_bytes: float
    budget_bytes: float
    weights_bytes: float
    activation_bytes: float
    context_bytes: float
    graph_bytes: float
    communicator_bytes: float
    kv_bytes: float
    kv_bytes_per_token: float
    length_tokens: int
    sequence_bytes: float
    cache_bytes: float
    system_left_bytes: float | None = None

    @property
    def used_bytes(self) -> float:
        """What is not cache."""
        return (
            self.weights_bytes + self.activation_bytes + self.context_bytes + self.graph_bytes + self.communicator_bytes
        )

    @property
    def needed_bytes(self) -> float:
        """The least with which the engine starts."""
        return self.used_bytes + self.cache_bytes

    @property
    def short_bytes(self) -> float:
        """What is missing for the cache; 0 when it fits."""
        return max(0.0, self.cache_bytes - self.kv_bytes)

    @property
    def fits(self) -> bool:
        """Whether the engine would start."""
        return self.short_bytes == 0

    @property
    def kv_tokens(self) -> int:
        """Tokens of context that the cache holds; with windows, of sequences of `length_tokens`."""
        if self.kv_bytes <= 0 or not self.sequence_bytes:
            return 0
        return int(self.kv_bytes / self.sequence_bytes * self.length_tokens)


def rank_memory(
    model: Model,
    sharding: Sharding,
    stage: int,
    device: Device,
    options: Options,
    calibration: Calibration | None = None,
    level: Level = "likely",
    engines: int = 1,
) -> RankMemory:
    """Memory of the ranks of one stage. So many `engines` have the device's memory among them, in equal parts.

    Raises MissingFigure when the device's memory size is neither in the catalogue nor measured.
    """
    total = memory_size(device, calibration)
    tokens = engine_options.batched_tokens(options, total, device.runtime_kind)
    sequences = engine_options.sequences(options, total, device.runtime_kind)
    length = options.max_model_len or model.maximum_length
    first, end = pipeline_layers(len(model.layers), sharding.pipeline)[stage]
    last = stage == sharding.pipeline - 1
    weights = stage_weights(model, sharding, stage)
    activations = max(forward_bytes(model, sharding, tokens), sampler_bytes(model, sequences) if last else 0.0)
    cpu = device.runtime_kind == "cpu"
    known = calibration or Calibration(hardware=device.name, engine="")
    context = _measured(known.context_bytes, own_bytes("vllm", cpu), level)
    graphs = 0.0
    if not (cpu or options.enforce_eager):
        graphs = _measured(known.graph_bytes, assumptions.GRAPH_BYTES, level)
    groups = sum(size > 1 for size in (sharding.tensor, sharding.pipeline, sharding.data))
    communicators = groups * _measured(known.communicator_bytes, assumptions.COMMUNICATOR_BYTES, level)
    per_token = kv_bytes_per_token(model, sharding, options, first, end)
    taken = _Taken(weights, activations, context, graphs, communicators)
    sequence = sequence_bytes(model, sharding, options, first, end, length, tokens)
    share = 1.0 if options.kv_cache_memory_bytes is not None else options.gpu_memory_utilization
    budget = budget_bytes(total, device, share) / engines
    cache = _Cache(length, per_token, sequence, options.kv_cache_memory_bytes)
    found = _judged(stage, device, total, budget, taken, cache)
    if device.shares_system_memory and device.system_memory_bytes is not None:
        left = device.system_memory_bytes - engines * (found.used_bytes + max(0.0, found.kv_bytes))
        return replace(found, system_left_bytes=left)
    return found


def sizes_memory(
    sizes: Sizes,
    engine: EngineKind,
    sharding: Sharding,
    device: Device,
    options: Options,
    calibration: Calibration | None = None,
    engines: int = 1,
) -> RankMemory:
    """As `rank_memory`, of a model whose layers are not known: equal parts of its sizes on every rank."""
    total, cpu = memory_size(device, calibration), device.runtime_kind == "cpu"
    vllm = engine in ("vllm", "auto")
    length = options.max_model_len or sizes.maximum_length
    per_token = sizes.cached_values_per_token * DTYPE_BYTES[options.dtype or sizes.dtype] / sharding.ranks
    told = options.kv_cache_memory_bytes if vllm else None
    share = 1.0 if told is not None or (cpu and not vllm) else options.gpu_memory_utilization
    groups = sum(size > 1 for size in (sharding.tensor, sharding.pipeline, sharding.data))
    weights = sizes.weights_bytes / sharding.ranks
    activations = pick(assumptions.ACTIVATION_BYTES, "likely") if vllm and not cpu else 0.0
    graphs = pick(assumptions.GRAPH_BYTES, "likely") if vllm and not (cpu or options.enforce_eager) else 0.0
    communicators = groups * pick(assumptions.COMMUNICATOR_BYTES, "likely")
    context = pick(own_bytes(engine, cpu), "likely")
    taken = _Taken(weights, activations, context, graphs, communicators)
    budget = budget_bytes(total, device, share) / engines
    return _judged(0, device, total, budget, taken, _Cache(length, per_token, per_token * length, told))


@dataclass(frozen=True)
class _Taken:
    """Bytes that are not cache, in the words of RankMemory."""

    weights: float
    activations: float
    context: float
    graphs: float
    communicators: float


@dataclass(frozen=True)
class _Cache:
    """What a sequence takes of the cache, and the size of the cache where the engine was told one; bytes."""

    length_tokens: int
    bytes_per_token: float
    sequence_bytes: float
    told_bytes: float | None


def _judged(stage: int, device: Device, total: float, budget: float, taken: _Taken, cache: _Cache) -> RankMemory:
    """The rank's memory from what it takes: the cache has the rest of the budget, or the size that it was told."""
    room = budget - sum(astuple(taken))
    told = cache.told_bytes
    return RankMemory(
        stage=stage,
        device=device.name,
        memory_bytes=total,
        budget_bytes=budget,
        weights_bytes=taken.weights,
        activation_bytes=taken.activations,
        context_bytes=taken.context,
        graph_bytes=taken.graphs,
        communicator_bytes=taken.communicators,
        kv_bytes=room if told is None else min(float(told), room),
        kv_bytes_per_token=cache.bytes_per_token,
        length_tokens=cache.length_tokens,
        sequence_bytes=cache.sequence_bytes,
        cache_bytes=max(cache.sequence_bytes, float(told or 0)),
    )


def budget_bytes(total: float, device: Device, share: float) -> float:
    """What all engines on a device may use together: their share, and no more than the system leaves of a host's."""
    return max(0.0, min(total * share, total - device.reserve_bytes))


def stage_weights(model: Model, sharding: Sharding, stage: int) -> float:
    """Bytes of weights on each rank of a stage, with what the engine keeps twice.

    MLA: vLLM keeps the up-projection of the cache also transposed for decoding, in 16 bits (W_UK_T and W_UV in
    vllm/model_executor/layers/attention/mla_attention.py). A tied head on another stage than the embedding is a copy.
    """
    first, end = pipeline_layers(len(model.layers), sharding.pipeline)[stage]
    size = 0.0
    # Layers differ in whether they have experts, and in nothing else that weighs something.
    kinds = [layer.experts for layer in model.layers[first:end]]
    for kind in dict.fromkeys(kinds):
        for tensor in layer_tensors(model, first + kinds.index(kind)):
            size += kinds.count(kind) * stored_bytes(tensor, model, sharding)
            if tensor.name == "kv_b":
                size += kinds.count(kind) * tensor.parameters / sharding.tensor * DTYPE_BYTES[model.dtype]
    last = stage == sharding.pipeline - 1
    if stage == 0 or (last and model.tied_embeddings):
        size += sum(stored_bytes(tensor, model, sharding) for tensor in embedding_tensors(model))
    if last:
        size += sum(stored_bytes(tensor, model, sharding) for tensor in head_tensors(model))
    return size


def kv_bytes_per_token(model: Model, sharding: Sharding, options: Options, first: int, end: int) -> float:
    """Cache bytes of one token on one rank of a stage; KV heads are replicated when there are fewer than ranks."""
    return (end - first) * layer_kv_bytes(model, sharding, options)


def layer_kv_bytes(model: Model, sharding: Sharding, options: Options) -> float:
    """The same of one layer. MLA's latent is one head, so every tensor-parallel rank has all of it."""
    value = options.kv_cache_bytes_per_value or DTYPE_BYTES[options.dtype or model.dtype]
    attention = model.attention
    if attention.kind == "mla":
        return float(attention.cached_values_per_token * value)
    heads = max(1, math.ceil(attention.kv_heads / sharding.tensor))
    return float(heads * (attention.head_size + attention.value_head_size) * value)


def sequence_bytes(
    model: Model, sharding: Sharding, options: Options, first: int, end: int, length: int, batched_tokens: int
) -> float:
    """Cache of one sequence on one rank, in whole blocks.

    A windowed layer keeps its window and one step's tokens (vllm/v1/kv_cache_interface.py:SlidingWindowSpec).
    """

    def kept(layer: Layer) -> int:
        tokens = length if layer.window_tokens is None else min(length, layer.window_tokens - 1 + batched_tokens)
        return math.ceil(tokens / options.block_size) * options.block_size

    return sum(kept(layer) for layer in model.layers[first:end]) * layer_kv_bytes(model, sharding, options)


def forward_bytes(model: Model, sharding: Sharding, tokens: int) -> float:
    """Peak of the tensors alive within a layer for a step of `tokens`: hidden state and residual, and the widest part.

    MLP: gate and up beside their product. Experts: the two caches of vLLM's fused MoE, each token as often as it has
    experts (vllm/model_executor/layers/fused_moe). Attention: queries, keys, values and the output.
    """
    size = DTYPE_BYTES[model.dtype]
    attention = model.attention
    ups = 3 if model.gated else 2
    widest = ups * model.intermediate_size / sharding.tensor
    qkv = attention.query_size + attention.value_size
    if attention.kind == "mla":
        qkv += attention.query_heads * (attention.head_size + attention.rope_head_size + attention.value_head_size)
    else:
        qkv += attention.kv_heads * (attention.head_size + attention.value_head_size)
    widest = max(widest, qkv / sharding.tensor)
    if model.experts is not None:
        experts = model.experts
        part = experts.intermediate_size / (1 if sharding.expert_parallel else sharding.expert_ranks)
        routed = experts.active * (max((ups - 1) * part, model.hidden_size) + part)
        shared = ups * experts.shared_intermediate_size / sharding.tensor
        widest = max(widest, routed + model.hidden_size, shared)
    return float(tokens * size * (3 * model.hidden_size + widest))


def sampler_bytes(model: Model, sequences: int) -> float:
    """Logits of one step, in the model's type and, for sampling, as 32-bit values, probabilities and noise."""
    return float(sequences * model.vocabulary_size * (DTYPE_BYTES[model.dtype] + 3 * 4))


def own_bytes(engine: EngineKind, cpu: bool) -> assumptions.Assumption:
    """What a process of an engine takes beside weights, activations and cache."""
    if engine == "transformers":
        return assumptions.TRANSFORMERS_BYTES
    if engine == "llama.cpp":
        return assumptions.LLAMA_CPP_PROCESSOR_BYTES if cpu else assumptions.LLAMA_CPP_BYTES
    return assumptions.PROCESSOR_BYTES if cpu else assumptions.CONTEXT_BYTES


def _measured(value: float | None, assumption: assumptions.Assumption, level: Level) -> float:
    return value if value is not None else pick(assumption, level)
