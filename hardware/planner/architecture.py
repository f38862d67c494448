"""A model as the planner sees it: its layers' shapes, its experts, its quantisation. Pure; counts and bytes.

Shapes are those of the checkpoint, before any sharding. `configuration.read` makes these from a config.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["float32", "float16", "bfloat16"]
Method = Literal["none", "awq", "gptq", "fp8", "int8", "mxfp4"]
Plain = tuple[int, str, str]  # layer, role and name of a tensor
EngineKind = Literal["vllm", "transformers", "llama.cpp", "auto"]

DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1, "int8": 1}


@dataclass(frozen=True)
class Quantisation:
    """How the linear layers' weights are stored.

    `bits` a weight; `group_size` weights share one scale along the input (-1: a whole row, 0: one for the tensor);
    `block` is the (rows, columns) tile that shares a scale in block-wise FP8. `origin` is the config's own name for it.
    `activations` says whether the multiplication itself runs in the weights' type. `symmetric` stores no zero points.
    `plain` names the linear layers that stay in the model's own type; the head is quantised where `head` says so.
    """

    method: Method = "none"
    bits: int = 16
    group_size: int = 0
    symmetric: bool = True
    activations: bool = False
    block: tuple[int, int] | None = None
    reordered: bool = False
    head: bool = False
    origin: str = ""
    plain: frozenset[Plain] = frozenset()


@dataclass(frozen=True)
class Attention:
    """One layer's attention. `kind` gqa covers MHA (kv_heads == query_heads), GQA and MQA (kv_heads == 1).

    For mla, `head_size` is the non-rotary query/key size, `rope_head_size` the rotary one, `kv_rank` the width of the
    compressed cache and `query_rank` that of the compressed query (None: queries are not compressed).
    `norm` is the query/key norm: over each head, over the whole projection, or none.
    """

    kind: Literal["gqa", "mla"]
    query_heads: int
    kv_heads: int
    head_size: int
    value_head_size: int
    qkv_bias: bool = False
    output_bias: bool = False
    norm: Literal["none", "head", "full"] = "none"
    sinks: bool = False
    rope_head_size: int = 0
    kv_rank: int = 0
    query_rank: int | None = None

    @property
    def query_size(self) -> int:
        """Width of all queries."""
        return self.query_heads * (self.head_size + self.rope_head_size)

    @property
    def value_size(self) -> int:
        """Width of what goes into the output projection."""
        return self.query_heads * self.value_head_size

    @property
    def cached_values_per_token(self) -> int:
        """Numbers that one layer keeps for one token, over all KV heads (MLA: the latent and the rotary key)."""
        if self.kind == "mla":
            return self.kv_rank + self.rope_head_size
        return self.kv_heads * (self.head_size + self.value_head_size)


@dataclass(frozen=True)
class Experts:
    """A mixture-of-experts MLP: `count` routed experts of which each token visits `active`.

    `shared_intermediate_size` is the sum over the experts that every token visits, 0 for none.
    """

    count: int
    active: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    shared_gate: bool = False
    router_bias: bool = False
    bias: bool = False


@dataclass(frozen=True)
class Layer:
    """What distinguishes one layer from the next."""

    experts: bool = False
    window_tokens: int | None = None


@dataclass(frozen=True)
class Model:
    """A decoder-only language model.

    `maximum_length` is in tokens, with scaling; `unscaled_length` is that of a vLLM which applies less of it (None: the
    same).
    """

    name: str
    hidden_size: int
    vocabulary_size: int
    layers: tuple[Layer, ...]
    attention: Attention
    intermediate_size: int
    dtype: Dtype
    maximum_length: int
    tied_embeddings: bool = False
    gated: bool = True
    mlp_bias: bool = False
    norms_per_layer: int = 2
    norm_bias: bool = False
    head_bias: bool = False
    learned_positions: int = 0
    experts: Experts | None = None
    quantisation: Quantisation = Quantisation()
    unscaled_length: int | None = None

    def longest(self, kind: str) -> int:
        """Tokens of the longest request that the locked vLLM takes on a kind of runtime; context.py says why."""
        return self.unscaled_length if kind == "cpu" and self.unscaled_length else self.maximum_length

    @property
    def is_mixture(self) -> bool:
        """Whether there are experts that expert parallelism could place."""
        return self.experts is not None and any(layer.experts for layer in self.layers)

    def kv_cache_bytes_per_token(self, cache_bytes_per_value: int | None = None) -> int:
        """Bytes that one more token of context takes, over all layers, unsharded, windows not yet filled.

        `cache_bytes_per_value` None: the model's own dtype, as vLLM's `kv_cache_dtype=auto` does.
        """
        size = cache_bytes_per_value or DTYPE_BYTES[self.dtype]
        return len(self.layers) * self.attention.cached_values_per_token * size


@dataclass(frozen=True)
class Sizes:
    """A model by its sizes alone, where its layers are not known here: an encoder, or weights in a format of their own.

    `stored_bytes`: weights that take the same whatever the data type (quantised ones); 0 where each takes the type's.
    `cached_values_per_token`: over all layers; 0 for a model that keeps no cache.
    """

    name: str
    parameters: int
    layers: int
    query_heads: int
    cached_values_per_token: int
    maximum_length: int
    stored_bytes: int = 0
    dtype: Dtype = "float32"
    quantisation: Quantisation = Quantisation()
    is_mixture: bool = False

    def longest(self, kind: str) -> int:
        """As `Model` says it."""
        return self.maximum_length

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights in its data type."""
        return self.stored_bytes or self.parameters * DTYPE_BYTES[self.dtype]

    def kv_cache_bytes_per_token(self) -> int:
        """As `Model` says it."""
        return self.cached_values_per_token * DTYPE_BYTES[self.dtype]
