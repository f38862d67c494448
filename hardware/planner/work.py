"""What one step of a stage moves, computes, launches and exchanges, on one rank. Pure; bytes, FLOPs, counts.

FLOPs of a product are 2 x rows x columns x tokens; attention's are 4 x heads x head size for each pair of tokens (two
products), half of the square in a causal prefill (Kaplan et al. 2020, appendix; Pope et al. 2022, "Efficiently Scaling
Transformer Inference", section 2). Bytes are what has to pass the memory once: weights, cache, and the activations that
kernels hand to each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hardware.planner.architecture import DTYPE_BYTES, Layer, Model
from hardware.planner.collectives import Operation
from hardware.planner.memory import layer_kv_bytes
from hardware.planner.options import Options
from hardware.planner.tensors import (
    Sharding,
    Tensor,
    head_tensors,
    layer_tensors,
    local_shape,
    pipeline_layers,
    stored_bytes,
)

Kind = Literal["weights", "experts", "attention", "activations", "head", "sampling"]

# Largest step that vLLM replays from a captured graph (vllm/config/compilation.py: at most 512 tokens by default).
GRAPH_TOKENS = 512

# Started for each layer of a step whose graph has gaps for attention: the piece, the cache's write, attention itself.
PIECES = 4

# Products of at most FEW_ROWS rows reach fewer FLOPs than those of FULL_ROWS or more, on a CPU a third.
FEW_ROWS, FULL_ROWS = 16.0, 512.0


@dataclass(frozen=True)
class Step:
    """One engine step: `sequences` that decode at `context_tokens` each, or a prefill of prompts of that length.

    `chunks` is the number of steps that a prefill is cut into; its weights are read once a chunk.
    """

    sequences: int
    context_tokens: float
    prefill: bool = False
    chunks: int = 1

    @property
    def tokens(self) -> float:
        """New tokens."""
        return self.sequences * self.context_tokens if self.prefill else float(self.sequences)


@dataclass(frozen=True)
class Work:
    """Work of one kind: bytes through memory and FLOPs, in products of `rows` rows (tokens)."""

    kind: Kind
    bytes: float
    flops: float
    rows: float = FULL_ROWS


@dataclass(frozen=True)
class Exchange:
    """`count` collectives of `size_bytes` among `ranks`. `group` says which ranks: they decide which path is taken."""

    operation: Operation
    group: Literal["tensor", "expert", "pipeline"]
    size_bytes: float
    ranks: int
    count: int


@dataclass(frozen=True)
class StageWork:
    """All of a step on one rank of one stage.

    `requests` is 1 where a prompt begins its way; `launches` is what no captured graph saves the host; `distributed`
    counts the steps that are handed to ranks in processes of their own.
    """

    work: tuple[Work, ...]
    exchanges: tuple[Exchange, ...]
    kernels: int
    sequences: float
    requests: int = 0
    launches: int = 0
    distributed: int = 0


def distinct_experts(count: int, active: int, tokens: float) -> float:
    """Expected number of experts that `tokens` visit: E (1 - (1 - k/E)^t), each token choosing k of E at random.

    Trained routers are uneven, so this is the most that one expects; fewer distinct experts are read sooner.
    """
    return float(count * (1.0 - (1.0 - active / count) ** tokens))


def rank_sequences(step: Step, sharding: Sharding) -> int:
    """Sequences of one data-parallel rank: whole ones, and the fullest rank decides."""
    return math.ceil(step.sequences / sharding.data)


def rank_tokens(step: Step, sharding: Sharding) -> float:
    """New tokens of one data-parallel rank."""
    return rank_sequences(step, sharding) * (step.context_tokens if step.prefill else 1.0)


def stage_work(model: Model, sharding: Sharding, stage: int, step: Step, options: Options) -> StageWork:
    """The work of a step on one rank of a stage of an engine that was given the whole step."""
    first, end = pipeline_layers(len(model.layers), sharding.pipeline)[stage]
    sequences = rank_sequences(step, sharding)
    tokens = rank_tokens(step, sharding)
    last = stage == sharding.pipeline - 1
    found: list[Work] = []
    # Layers of one kind do the same: count them instead of walking all.
    kinds: dict[Layer, list[int]] = {}
    for index in range(first, end):
        kinds.setdefault(model.layers[index], []).append(index)
    kernels = 0
    for layer, indices in kinds.items():
        for work in _layer(model, sharding, layer, indices[0], step, options):
            found.append(Work(work.kind, work.bytes * len(indices), work.flops * len(indices), work.rows))
        kernels += layer_kernels(model, layer) * len(indices)
    if last:
        size = DTYPE_BYTES[model.dtype]
        columns = model.hidden_size
        rows = model.vocabulary_size / sharding.tensor
        stored = sum(stored_bytes(t, model, sharding) for t in head_tensors(model) if t.role == "head")
        found.append(Work("head", stored or rows * columns * size, 2 * rows * columns * sequences, sequences))
        found.append(Work("sampling", sequences * model.vocabulary_size * (size + 5 * 4), 0.0))
        kernels += 8
    return StageWork(
        tuple(found),
        tuple(_exchanges(model, sharding, stage, step)),
        kernels * step.chunks,
        sequences,
        requests=1 if step.prefill and stage == 0 else 0,
        launches=_launches(kernels, end - first, step, tokens, options),
        distributed=step.chunks if sharding.ranks > 1 and stage == 0 else 0,
    )


def _launches(kernels: int, layers: int, step: Step, tokens: float, options: Options) -> int:
    """What the host starts one by one. vLLM captures decoding whole; of a mixed or prefill step up to GRAPH_TOKENS it
    captures what is between the attention operators (FULL_AND_PIECEWISE), and nothing of a larger or an eager one.
    """
    if options.enforce_eager or tokens / step.chunks > GRAPH_TOKENS:
        return kernels * step.chunks
    return layers * PIECES * step.chunks if step.prefill else 0


def _layer(model: Model, sharding: Sharding, layer: Layer, index: int, step: Step, options: Options) -> Iterator[Work]:
    tokens = rank_tokens(step, sharding)
    dense_bytes = dense_flops = 0.0
    for tensor in layer_tensors(model, index):
        if tensor.role == "experts":
            yield _expert(model, sharding, tensor, step)
            continue
        rows, columns, copies = local_shape(tensor, sharding)
        dense_bytes += stored_bytes(tensor, model, sharding) * step.chunks
        if columns > 1:
            dense_flops += 2 * rows * columns * copies * tokens
    yield Work("weights", dense_bytes, dense_flops, tokens / step.chunks)
    yield _attention(model, sharding, layer, step, options)
    yield Work("activations", tokens * activation_bytes_per_token(model, sharding, layer), 0.0)


def _expert(model: Model, sharding: Sharding, tensor: Tensor, step: Step) -> Work:
    experts = model.experts
    if experts is None:
        raise ValueError(f"{tensor.name} is an expert's tensor of a model without experts")
    per_chunk = step.tokens / step.chunks
    visited = distinct_experts(experts.count, experts.active, per_chunk) / experts.count
    size = stored_bytes(tensor, model, sharding) * visited * step.chunks
    flops = 0.0
    if tensor.columns > 1:
        flops = 2 * tensor.rows * tensor.columns * step.tokens * experts.active / sharding.expert_ranks
    rows = per_chunk * experts.active / distinct_experts(experts.count, experts.active, per_chunk)
    return Work("experts", size, flops, rows)


def _attention(model: Model, sharding: Sharding, layer: Layer, step: Step, options: Options) -> Work:
    attention = model.attention
    heads = attention.query_heads / sharding.tensor
    sequences = rank_sequences(step, sharding)
    length = step.context_tokens
    window = layer.window_tokens
    if attention.kind == "mla" and not step.prefill:
        pair = 2 * heads * (2 * attention.kv_rank + attention.rope_head_size)
    else:
        pair = 2 * heads * (attention.head_size + attention.rope_head_size + attention.value_head_size)
    seen = length if window is None else min(length, window)
    cached = layer_kv_bytes(model, sharding, options)
    if step.prefill:
        # Token i sees min(i, window) tokens.
        pairs = length * length / 2 if window is None or window >= length else window * (length - window / 2)
        return Work("attention", sequences * length * cached * (1 + step.chunks) / 2, pair * pairs * sequences)
    return Work("attention", sequences * seen * cached, pair * seen * sequences)


def activation_bytes_per_token(model: Model, sharding: Sharding, layer: Layer) -> float:
    """Bytes that a layer's kernels write and read for one token: norms, projections, activation function."""
    attention = model.attention
    size = DTYPE_BYTES[model.dtype]
    qkv = attention.query_size + 2 * attention.kv_heads * attention.value_head_size
    values = 8.0 * model.hidden_size + (3 * qkv + 2 * attention.value_size) / sharding.tensor
    each = 6 if model.gated else 4
    experts = model.experts
    if experts is not None and layer.experts:
        parts = sharding.expert_ranks
        values += experts.active * (each * experts.intermediate_size / parts + 3 * model.hidden_size)
        values += each * experts.shared_intermediate_size / sharding.tensor
    else:
        values += each * model.intermediate_size / sharding.tensor
    return values * size


def layer_kernels(model: Model, layer: Layer) -> int:
    """Kernels that vLLM starts for one layer once torch.compile has fused what it can.

    Attention: projection, rotation, write to the cache, attention and its reduction, output. MLA also projects down,
    norms and multiplies by the absorbed matrices. MLP: two products and the activation. Experts: router, top-k, sorting
    of tokens by expert, two grouped products, activation, sum; a shared expert is an MLP and an addition.
    """
    kernels = model.norms_per_layer + (11 if model.attention.kind == "mla" else 6)
    kernels += model.attention.norm != "none"
    if model.experts is not None and layer.experts:
        kernels += 8 + (4 if model.experts.shared_intermediate_size else 0)
    else:
        kernels += 3
    return kernels


def _exchanges(model: Model, sharding: Sharding, stage: int, step: Step) -> Iterator[Exchange]:
    size = DTYPE_BYTES[model.dtype]
    first, end = pipeline_layers(len(model.layers), sharding.pipeline)[stage]
    message = rank_tokens(step, sharding) / step.chunks * model.hidden_size * size
    if sharding.tensor > 1:
        count = 2 * (end - first) + (1 if stage == 0 else 0)
        yield Exchange("all_reduce", "tensor", message, sharding.tensor, count * step.chunks)
        if stage == sharding.pipeline - 1:
            logits = rank_sequences(step, sharding) * model.vocabulary_size * size
            yield Exchange("all_gather", "tensor", logits, sharding.tensor, 1)
    mixed = sum(layer.experts for layer in model.layers[first:end])
    if sharding.data > 1 and mixed:
        # vLLM's default for DP with experts: gather all tokens, scatter the sums (allgather_reducescatter).
        whole = message * sharding.data
        yield Exchange("all_gather", "expert", whole, sharding.expert_ranks, 2 * mixed * step.chunks)
    if stage > 0:
        # Hidden state and residual (vllm/v1/worker/gpu_worker.py sends both).
        yield Exchange("send", "pipeline", 2 * message, 2, step.chunks)
