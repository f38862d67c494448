"""Reads a Hugging Face config.json into an `architecture.Model`. Pure; ConfigurationError names file, field and fix.

What a family leaves unsaid in its config.json (biases, norms, tied embeddings) is here, from the model's code in
transformers. An architecture that is not in the table is refused: its tensors would be a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from hardware.planner import context, quantisation, scope
from hardware.planner.architecture import Attention, Dtype, Experts, Layer, Model
from hardware.planner.errors import ConfigurationError
from hardware.planner.fields import Fields

_DTYPES: dict[str, Dtype] = {"float32": "float32", "float16": "float16", "half": "float16", "bfloat16": "bfloat16"}


@dataclass(frozen=True)
class Family:
    """What a model's code fixes. Words in `mlp_bias` and the like are the config's field, where there is one."""

    layout: Literal["gqa", "mla", "gpt2"] = "gqa"
    qkv_bias: bool = False
    output_bias: bool = False
    bias_field: str = ""
    mlp_bias: bool = False
    gated: bool = True
    norm: Literal["none", "head", "full"] = "none"
    sinks: bool = False
    norms_per_layer: int = 2
    norm_bias: bool = False
    head_bias: bool = False
    tied: bool = False
    head_dim: int | None = None
    experts: Literal["none", "mixtral", "qwen2", "qwen3", "olmoe", "deepseek", "gpt_oss"] = "none"
    windows: Literal["never", "all", "qwen", "alternate"] = "never"


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family(bias_field="attention_bias"),
    "MistralForCausalLM": Family(windows="all"),
    "MixtralForCausalLM": Family(experts="mixtral", windows="all"),
    "Qwen2ForCausalLM": Family(qkv_bias=True, windows="qwen"),
    "Qwen2MoeForCausalLM": Family(qkv_bias=True, experts="qwen2", windows="qwen"),
    "Qwen3ForCausalLM": Family(norm="head", bias_field="attention_bias", windows="qwen"),
    "Qwen3MoeForCausalLM": Family(norm="head", bias_field="attention_bias", experts="qwen3", windows="qwen"),
    "OlmoeForCausalLM": Family(norm="full", experts="olmoe"),
    "Olmo2ForCausalLM": Family(norm="full"),
    "Phi3ForCausalLM": Family(windows="all"),
    "PhiForCausalLM": Family(
        qkv_bias=True, output_bias=True, mlp_bias=True, gated=False, norms_per_layer=1, norm_bias=True, head_bias=True
    ),
    "GemmaForCausalLM": Family(tied=True, head_dim=256),
    "Gemma2ForCausalLM": Family(tied=True, head_dim=256, norms_per_layer=4, windows="alternate"),
    "Starcoder2ForCausalLM": Family(
        qkv_bias=True, output_bias=True, mlp_bias=True, gated=False, norm_bias=True, tied=True, windows="all"
    ),
    "GPT2LMHeadModel": Family(
        layout="gpt2", qkv_bias=True, output_bias=True, mlp_bias=True, gated=False, norm_bias=True, tied=True
    ),
    "DeepseekV2ForCausalLM": Family(layout="mla", experts="deepseek"),
    "DeepseekV3ForCausalLM": Family(layout="mla", experts="deepseek"),
    "GptOssForCausalLM": Family(
        qkv_bias=True, output_bias=True, sinks=True, experts="gpt_oss", head_dim=64, windows="alternate"
    ),
}


def read(values: Mapping[str, Any], name: str, where: str = "config.json") -> Model:
    """The model that a parsed config.json describes.

    `name` is for display, `where` names the file in messages. Raises ConfigurationError for an unknown architecture, a
    missing field or a value that cannot be.
    """
    fields = Fields(values, where)
    architectures = fields.words("architectures")
    if not architectures:
        raise ConfigurationError(
            f"{where}: field architectures is missing; take the complete config.json from the model's repository"
        )
    family = FAMILIES.get(architectures[0])
    if family is None:
        raise ConfigurationError(
            f"{where}: architecture {architectures[0]!r} is not known; known are {', '.join(sorted(FAMILIES))} "
            "(hardware/planner/configuration.py)"
        )
    model = _gpt2(fields, family, name) if family.layout == "gpt2" else _decoder(fields, family, name)
    stored, covered = quantisation.read(fields)
    model = replace(model, quantisation=stored)
    if covered is not None:
        # Asked of the model as if all were quantised, and then what is not is left out.
        kept = scope.plain(model, architectures[0], covered)
        model = replace(model, quantisation=replace(stored, head=scope.head(covered), plain=kept))
    return model


def _decoder(fields: Fields, family: Family, name: str) -> Model:
    hidden = fields.number("hidden_size")
    layers = fields.number("num_hidden_layers")
    experts = _experts(fields, family)
    attention = _mla(fields) if family.layout == "mla" else _gqa(fields, family, hidden)
    windows = _windows(fields, family, layers)
    mixed = _mixed(fields, family, layers)
    longest, unscaled = context.lengths(fields)
    if experts is not None and family.experts in ("mixtral", "olmoe", "gpt_oss"):
        intermediate = experts.intermediate_size
    else:
        intermediate = fields.number("intermediate_size")
    return Model(
        name=name,
        hidden_size=hidden,
        vocabulary_size=fields.number("vocab_size"),
        layers=tuple(Layer(experts=mixed[index], window_tokens=windows[index]) for index in range(layers)),
        attention=attention,
        intermediate_size=intermediate,
        dtype=_dtype(fields),
        maximum_length=longest,
        unscaled_length=None if unscaled == longest else unscaled,
        tied_embeddings=fields.flag("tie_word_embeddings", family.tied),
        gated=family.gated,
        mlp_bias=(family.mlp_bias and fields.flag("use_bias", True)) or fields.flag("mlp_bias", False),
        norms_per_layer=family.norms_per_layer,
        norm_bias=family.norm_bias,
        head_bias=family.head_bias,
        experts=experts,
    )


def _dtype(fields: Fields) -> Dtype:
    value = str(fields.raw("torch_dtype", fields.raw("dtype", "float32"))).removeprefix("torch.")
    if value not in _DTYPES:
        raise ConfigurationError(f"{fields.where}: torch_dtype {value!r} is not known; known are {', '.join(_DTYPES)}")
    return _DTYPES[value]


def _gqa(fields: Fields, family: Family, hidden: int) -> Attention:
    heads = fields.number("num_attention_heads")
    kv_heads = fields.number("num_key_value_heads", default=heads)
    head = fields.optional("head_dim") or family.head_dim
    if head is None:
        if hidden % heads:
            raise ConfigurationError(
                f"{fields.where}: hidden_size {hidden} is not a multiple of num_attention_heads {heads} and head_dim "
                "is missing; add head_dim"
            )
        head = hidden // heads
    if heads % kv_heads:
        raise ConfigurationError(
            f"{fields.where}: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        )
    biased = fields.flag(family.bias_field, False) if family.bias_field else False
    # Starcoder2's `use_bias` covers all of its linears.
    used = fields.flag("use_bias", True)
    return Attention(
        kind="gqa",
        query_heads=heads,
        kv_heads=kv_heads,
        head_size=head,
        value_head_size=head,
        qkv_bias=(family.qkv_bias and used) or biased,
        output_bias=(family.output_bias and used) or biased,
        norm=family.norm,
        sinks=family.sinks,
    )


def _mla(fields: Fields) -> Attention:
    heads = fields.number("num_attention_heads")
    return Attention(
        kind="mla",
        query_heads=heads,
        kv_heads=1,
        head_size=fields.number("qk_nope_head_dim", bounds="head_dim"),
        value_head_size=fields.number("v_head_dim", bounds="head_dim"),
        rope_head_size=fields.number("qk_rope_head_dim", bounds="head_dim"),
        kv_rank=fields.number("kv_lora_rank"),
        query_rank=fields.optional("q_lora_rank"),
    )


def _experts(fields: Fields, family: Family) -> Experts | None:
    kind = family.experts
    if kind == "none":
        return None
    count = fields.number("num_experts", "num_local_experts", "n_routed_experts", bounds="num_experts")
    active = fields.number("num_experts_per_tok", "experts_per_token", bounds="num_experts_per_tok")
    if active > count:
        raise ConfigurationError(f"{fields.where}: num_experts_per_tok {active} is more than the {count} experts")
    if kind in ("mixtral", "olmoe", "gpt_oss"):
        size = fields.number("intermediate_size")
        biased = kind == "gpt_oss"
        return Experts(count, active, size, router_bias=biased, bias=biased)
    size = fields.number("moe_intermediate_size")
    if kind == "qwen2":
        shared = fields.number("shared_expert_intermediate_size", bounds="intermediate_size")
        return Experts(count, active, size, shared_intermediate_size=shared, shared_gate=True)
    if kind == "deepseek":
        shared = fields.number("n_shared_experts", default=0, bounds="num_experts_or_none") * size
        corrected = fields.raw("topk_method") == "noaux_tc"
        return Experts(count, active, size, shared_intermediate_size=shared, router_bias=corrected)
    return Experts(count, active, size)


def _mixed(fields: Fields, family: Family, layers: int) -> tuple[bool, ...]:
    """Which layers have experts."""
    if family.experts == "none":
        return (False,) * layers
    if family.experts == "deepseek":
        first = fields.number("first_k_dense_replace", default=0)
        step = fields.number("moe_layer_freq", default=1)
        return tuple(index >= first and index % step == 0 for index in range(layers))
    if family.experts in ("qwen2", "qwen3"):
        step = max(1, fields.number("decoder_sparse_step", default=1))
        dense = fields.raw("mlp_only_layers", [])
        return tuple(index not in dense and (index + 1) % step == 0 for index in range(layers))
    return (True,) * layers


def _windows(fields: Fields, family: Family, layers: int) -> tuple[int | None, ...]:
    """Each layer's window, None where it attends to everything."""
    window = fields.optional("sliding_window")
    kinds = fields.words("layer_types")
    if window is None or family.windows == "never":
        return (None,) * layers
    if kinds is not None:
        if len(kinds) != layers:
            raise ConfigurationError(f"{fields.where}: layer_types names {len(kinds)} of {layers} layers")
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    if family.windows == "all":
        return (window,) * layers
    if family.windows == "alternate":
        return tuple(window if index % 2 == 0 else None for index in range(layers))
    if not fields.flag("use_sliding_window", False):
        return (None,) * layers
    first = fields.number("max_window_layers", default=0)
    return tuple(window if index >= first else None for index in range(layers))


def _gpt2(fields: Fields, family: Family, name: str) -> Model:
    hidden, heads = fields.number("n_embd", bounds="hidden_size"), fields.number("n_head", bounds="num_attention_heads")
    positions = fields.number("n_positions", bounds="max_position_embeddings")
    return Model(
        name=name,
        hidden_size=hidden,
        vocabulary_size=fields.number("vocab_size"),
        layers=(Layer(),) * fields.number("n_layer", bounds="num_hidden_layers"),
        attention=Attention("gqa", heads, heads, hidden // heads, hidden // heads, qkv_bias=True, output_bias=True),
        intermediate_size=fields.number("n_inner", default=4 * hidden, bounds="intermediate_size"),
        dtype=_dtype(fields),
        maximum_length=positions,
        tied_embeddings=family.tied,
        gated=family.gated,
        mlp_bias=family.mlp_bias,
        norm_bias=family.norm_bias,
        learned_positions=positions,
    )
