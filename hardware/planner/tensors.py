"""Which tensors a model is made of, how vLLM shards each, and what they weigh. Pure; parameters and bytes.

The shapes are those of the published checkpoints, so the sum over them is the model's parameter count. Sharding follows
vLLM: column- and row-parallel linears, KV heads replicated when there are fewer than ranks, the vocabulary padded to a
multiple of 64 (vllm/model_executor/layers/vocab_parallel_embedding.py), layers cut as in
vllm/distributed/utils.py:get_pp_indices, whole experts divided among the ranks under expert parallelism.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hardware.planner.architecture import DTYPE_BYTES, Model, Quantisation

Split = Literal["column", "row", "kv", "replicated", "vocabulary"]
Role = Literal["attention", "mlp", "router", "experts", "norm", "embedding", "head"]

VOCABULARY_PADDING = 64


@dataclass(frozen=True)
class Tensor:
    """A weight of `rows` outputs by `columns` inputs (1 for a vector), `copies` times (once for each expert)."""

    name: str
    role: Role
    rows: int
    columns: int
    split: Split
    copies: int = 1
    quantised: bool = False
    heads: int = 0

    @property
    def parameters(self) -> int:
        """Numbers in it, before sharding."""
        return self.rows * self.columns * self.copies


@dataclass(frozen=True)
class Sharding:
    """How one engine is cut. `data` replicates attention within an engine whose experts are spread (vLLM's DP)."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert_parallel: bool = False

    @property
    def ranks(self) -> int:
        """Accelerators that one engine takes."""
        return self.tensor * self.pipeline * self.data

    @property
    def expert_ranks(self) -> int:
        """Ranks among which a layer's experts are divided."""
        return self.tensor * self.data

    def __str__(self) -> str:
        parts = [f"TP {self.tensor}", f"PP {self.pipeline}"]
        if self.data > 1:
            parts.append(f"DP {self.data}")
        if self.expert_parallel:
            parts.append(f"EP {self.expert_ranks}")
        return " x ".join(parts)


WHOLE = Sharding()


def layer_tensors(model: Model, index: int) -> Iterator[Tensor]:
    """The tensors of one layer; what the checkpoint leaves in its own type is not quantised."""
    plain = model.quantisation.plain
    for tensor in _layer_tensors(model, index):
        kept = plain and tensor.quantised and (index, tensor.role, tensor.name) in plain
        yield replace(tensor, quantised=False) if kept else tensor


def _layer_tensors(model: Model, index: int) -> Iterator[Tensor]:
    yield from _attention(model)
    experts = model.experts
    if experts is not None and model.layers[index].experts:
        yield Tensor("router", "router", experts.count, model.hidden_size, "replicated")
        if experts.router_bias:
            yield Tensor("router bias", "router", experts.count, 1, "replicated")
        yield from _mlp(model, experts.intermediate_size, "experts", experts.count, experts.bias)
        if experts.shared_intermediate_size:
            yield from _mlp(model, experts.shared_intermediate_size, "mlp", 1, model.mlp_bias)
        if experts.shared_gate:
            yield Tensor("shared gate", "router", 1, model.hidden_size, "replicated")
    else:
        yield from _mlp(model, model.intermediate_size, "mlp", 1, model.mlp_bias)
    width = model.hidden_size * (2 if model.norm_bias else 1)
    yield Tensor("norm", "norm", width, 1, "replicated", copies=model.norms_per_layer)


def _attention(model: Model) -> Iterator[Tensor]:
    attention, hidden = model.attention, model.hidden_size
    if attention.kind == "mla":
        if attention.query_rank is None:
            yield Tensor("q", "attention", attention.query_size, hidden, "column", quantised=True)
        else:
            yield Tensor("q_a", "attention", attention.query_rank, hidden, "replicated", quantised=True)
            yield Tensor("q_a norm", "norm", attention.query_rank, 1, "replicated")
            yield Tensor("q_b", "attention", attention.query_size, attention.query_rank, "column", quantised=True)
        latent = attention.kv_rank + attention.rope_head_size
        yield Tensor("kv_a", "attention", latent, hidden, "replicated", quantised=True)
        yield Tensor("kv_a norm", "norm", attention.kv_rank, 1, "replicated")
        expanded = attention.query_heads * (attention.head_size + attention.value_head_size)
        yield Tensor("kv_b", "attention", expanded, attention.kv_rank, "column", quantised=True)
    else:
        yield Tensor("q", "attention", attention.query_size, hidden, "column", quantised=True)
        for name, size in (("k", attention.head_size), ("v", attention.value_head_size)):
            rows = attention.kv_heads * size
            yield Tensor(name, "attention", rows, hidden, "kv", quantised=True, heads=attention.kv_heads)
            if attention.qkv_bias:
                yield Tensor(f"{name} bias", "attention", rows, 1, "kv", heads=attention.kv_heads)
        if attention.qkv_bias:
            yield Tensor("q bias", "attention", attention.query_size, 1, "column")
        if attention.norm == "head":
            yield Tensor("q and k norm", "norm", 2 * attention.head_size, 1, "replicated")
        elif attention.norm == "full":
            yield Tensor("q norm", "norm", attention.query_size, 1, "column")
            yield Tensor("k norm", "norm", attention.kv_heads * attention.head_size, 1, "kv", heads=attention.kv_heads)
        if attention.sinks:
            yield Tensor("sinks", "attention", attention.query_heads, 1, "column")
    yield Tensor("o", "attention", hidden, attention.value_size, "row", quantised=True)
    if attention.output_bias:
        yield Tensor("o bias", "attention", hidden, 1, "replicated")


def _mlp(model: Model, intermediate: int, role: Role, copies: int, bias: bool) -> Iterator[Tensor]:
    ups = 2 if model.gated else 1
    name = "gate and up" if model.gated else "up"
    yield Tensor(name, role, ups * intermediate, model.hidden_size, "column", copies, quantised=True)
    yield Tensor("down", role, model.hidden_size, intermediate, "row", copies, quantised=True)
    if bias:
        yield Tensor(f"{name} bias", role, ups * intermediate, 1, "column", copies)
        yield Tensor("down bias", role, model.hidden_size, 1, "replicated", copies)


def embedding_tensors(model: Model) -> Iterator[Tensor]:
    """What comes before the first layer."""
    yield Tensor("embedding", "embedding", model.vocabulary_size, model.hidden_size, "vocabulary")
    if model.learned_positions:
        yield Tensor("positions", "embedding", model.learned_positions, model.hidden_size, "replicated")


def head_tensors(model: Model) -> Iterator[Tensor]:
    """What comes after the last layer; a tied head is the embedding and weighs nothing more."""
    yield Tensor("final norm", "norm", model.hidden_size * (2 if model.norm_bias else 1), 1, "replicated")
    if not model.tied_embeddings:
        quantised = model.quantisation.head
        yield Tensor("head", "head", model.vocabulary_size, model.hidden_size, "vocabulary", quantised=quantised)
    if model.head_bias:
        yield Tensor("head bias", "head", model.vocabulary_size, 1, "vocabulary")


def parameter_count(model: Model) -> int:
    """All parameters, as the model's publisher counts them (tied embeddings once, quantised weights as weights)."""
    layers = sum(tensor.parameters for index in range(len(model.layers)) for tensor in layer_tensors(model, index))
    outer = sum(tensor.parameters for part in (embedding_tensors, head_tensors) for tensor in part(model))
    return layers + outer


def active_parameter_count(model: Model) -> int:
    """Parameters that one token visits: of the routed experts only the active ones."""
    total = parameter_count(model)
    if model.experts is None:
        return total
    idle = 1 - model.experts.active / model.experts.count
    routed = sum(
        tensor.parameters
        for index in range(len(model.layers))
        for tensor in layer_tensors(model, index)
        if tensor.role == "experts"
    )
    return total - round(routed * idle)


def pipeline_layers(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """(first, end) layer of each stage, as vLLM cuts them: a remainder goes to the stages before the last."""
    sizes = [layers // stages] * stages
    for index in range(2, layers % stages + 2):
        sizes[-index] += 1
    ends = [sum(sizes[: stage + 1]) for stage in range(stages)]
    return tuple((end - size, end) for size, end in zip(sizes, ends, strict=True))


def local_shape(tensor: Tensor, sharding: Sharding) -> tuple[float, float, float]:
    """(rows, columns, copies) of a tensor on one rank."""
    rows, columns, copies = float(tensor.rows), float(tensor.columns), float(tensor.copies)
    if tensor.role == "experts":
        if sharding.expert_parallel:
            return rows, columns, math.ceil(copies / sharding.expert_ranks)
        parts = sharding.expert_ranks  # without EP, vLLM cuts every expert over the DP ranks too
    else:
        parts = sharding.tensor
    if tensor.split == "column":
        rows = math.ceil(rows / parts)
    elif tensor.split == "row":
        columns = math.ceil(columns / parts)
    elif tensor.split == "kv":
        rows = rows / tensor.heads * max(1, math.ceil(tensor.heads / parts))
    elif tensor.split == "vocabulary":
        rows = math.ceil(rows / VOCABULARY_PADDING) * VOCABULARY_PADDING / parts
    return rows, columns, copies


def stored_bytes(tensor: Tensor, model: Model, sharding: Sharding = WHOLE) -> float:
    """Bytes that a tensor takes on one rank, with scales and zero points when it is quantised."""
    rows, columns, copies = local_shape(tensor, sharding)
    if tensor.quantised and model.quantisation.method != "none":
        return copies * quantised_bytes(rows, columns, model.quantisation, tensor.role == "experts")
    return copies * rows * columns * DTYPE_BYTES[model.dtype]


def quantised_bytes(rows: float, columns: float, quantisation: Quantisation, expert: bool = False) -> float:
    """Bytes of one quantised matrix of `rows` outputs by `columns` inputs.

    AWQ and GPTQ: packed weights; a 16-bit scale and, unless symmetric, a packed zero point for each group and output
    (the layouts of AutoAWQ and GPTQ, as in vLLM's auto_awq.py and auto_gptq.py); GPTQ also a 32-bit group index for
    each input. FP8: one byte and a 32-bit scale for each block, row or tensor. MXFP4: 4 bits and an 8-bit scale for 32.
    `expert` matters where a checkpoint quantises only experts (MXFP4); other linears then stay in 16 bits.
    """
    weights = rows * columns
    if quantisation.method == "mxfp4":
        return weights * 17 / 32 if expert else weights * 2
    packed = weights * quantisation.bits / 8
    if quantisation.block is not None:
        tiles = math.ceil(rows / quantisation.block[0]) * math.ceil(columns / quantisation.block[1])
        return packed + 4 * tiles
    if quantisation.method in ("fp8", "int8"):
        return packed + 4 * (rows if quantisation.group_size == -1 else 1)
    groups = 1 if quantisation.group_size <= 0 else math.ceil(columns / quantisation.group_size)
    size = packed + rows * groups * 2
    if not quantisation.symmetric or quantisation.method == "gptq":
        size += rows * groups * quantisation.bits / 8
    if quantisation.method == "gptq":
        size += 4 * columns
    return size
