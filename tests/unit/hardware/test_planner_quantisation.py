"""Quantisation as the locked vLLM reads it: every method, the lists of what stays plain, groups, sparsity, where it
looks; and the longest request under RoPE scaling. Shapes as publishers write them, values made up; rules from vLLM
0.29.0 and 0.32.0 (the modules are named in hardware/planner/)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardware.model import ProfileError
from hardware.planner import configuration, tensors
from hardware.planner.architecture import Model
from hardware.planner.errors import ConfigurationError
from hardware.planner.quantisation_methods import PLANNED, REFUSED
from inventories import models
from inventories.models import shapes

ORIGINAL = "original_max_position_embeddings"
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 64000,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
}
MIXTRAL = {
    **LLAMA,
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
STATIC = {"quant_method": "fp8", "activation_scheme": "static"}
FBGEMM = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1000.0, "modules_to_not_convert": None}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
MLP = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]

# What one of the 32 layers' linears takes in 16 bits and in 8, roughly: for the difference that a list makes.
ATTENTION_VALUES, MLP_VALUES = 4096 * 4096 * 2 + 4096 * 1024 * 2, 3 * 4096 * 12288


def packed(*groups: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    """compressed-tensors with groups of Linear, each with its weights."""
    made = {name: {"targets": ["Linear"], "input_activations": None, "weights": weights} for name, weights in groups}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": made, **more}


def read(quantisation: Any = None, base: dict[str, Any] = LLAMA, **more: Any) -> Model:
    told = {"quantization_config": quantisation} if quantisation is not None else {}
    return configuration.read({**base, **told, **more}, "mine", "mine.json")


def stored(model: Model) -> float:
    every = [tensor for index in range(len(model.layers)) for tensor in tensors.layer_tensors(model, index)]
    every += [*tensors.embedding_tensors(model), *tensors.head_tensors(model)]
    return sum(tensors.stored_bytes(tensor, model) for tensor in every)


def kept(model: Model) -> set[tuple[str, str]]:
    """Role and name of what stays plain in every layer."""
    plain = model.quantisation.plain
    return {(role, name) for _, role, name in plain if all((i, role, name) in plain for i in range(len(model.layers)))}


PLANNED_CONFIGS: dict[str, dict[str, Any]] = {
    "awq": AWQ,
    "gptq": GPTQ,
    "fp8": STATIC,
    "fbgemm_fp8": FBGEMM,
    "compressed-tensors": packed(("group_0", INT4)),
    "modelopt": MODELOPT,
    "mxfp4": {},
}


@pytest.mark.parametrize("method", sorted({*PLANNED, *REFUSED}))
def test_every_method_that_the_locked_vllm_knows_is_planned_or_refused_by_its_name(method: str) -> None:
    if method in PLANNED:
        base = MIXTRAL if "mxfp4" in method else LLAMA
        found = read({**PLANNED_CONFIGS[PLANNED[method]], "quant_method": method}, base)
        assert found.quantisation.bits in (4, 8) and stored(found) < 0.6 * stored(read(base=base))
    else:
        with pytest.raises(ConfigurationError) as refused:
            read({"quant_method": method})
        assert f"quant_method {method!r} cannot be planned: {REFUSED[method]}; take a checkpoint in awq" in str(
            refused.value
        )


@pytest.mark.parametrize(("method", "said"), [("auto-round", "'inc' cannot be planned"), ("magic", "'magic' is not")])
def test_other_names(method: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read({"quant_method": method})
    assert read({**packed(("group_0", INT4)), "quant_method": "compressed_tensors"}).quantisation.bits == 4


def test_published_exclusions_of_fbgemm() -> None:
    names = [f"model.layers.{layer}.{name}" for layer in range(32) for name in ATTENTION]
    names += [f"model.layers.{layer}.{name}" for layer in (0, 31) for name in MLP]
    found = read({**FBGEMM, "modules_to_not_convert": [*names, "lm_head"]})
    assert stored(found) / 1e9 == pytest.approx(8.87, abs=0.005)


@pytest.mark.parametrize(
    ("quantisation", "plain"),
    [
        ({**AWQ, "modules_to_not_convert": ["self_attn"]}, {("attention", name) for name in "qkvo"}),
        ({**AWQ, "modules_to_not_convert": ["down_proj", "o_proj"]}, {("mlp", "down"), ("attention", "o")}),
        ({**AWQ, "modules_to_not_convert": None}, set()),
        ({**GPTQ, "modules_in_block_to_quantize": [["self_attn.q_proj", "self_attn.k_proj"], ["self_attn.v_proj"]]},
         {("attention", "o"), ("mlp", "gate and up"), ("mlp", "down")}),
        ({**GPTQ, "dynamic": {r"-:.*\.mlp\..*": {}}}, {("mlp", "gate and up"), ("mlp", "down")}),
        ({**STATIC, "ignored_layers": [f"model.layers.{layer}.mlp.down_proj" for layer in range(32)]},
         {("mlp", "down")}),
        ({**STATIC, "modules_to_not_convert": [f"model.layers.{layer}.self_attn.qkv_proj" for layer in range(32)]},
         {("attention", name) for name in "qkv"}),
        ({**STATIC, "ignored_layers": ["self_attn"]}, set()),  # FP8's names are whole ones
        ({**MODELOPT, "ignore": ["*self_attn*", "lm_head"]}, {("attention", name) for name in "qkvo"}),
        ({**MODELOPT, "ignore": ["mlp"]}, {("mlp", "gate and up"), ("mlp", "down")}),
        (packed(("config_group_0", INT4), ignore=["lm_head", r"re:.*self_attn.*"]),
         {("attention", name) for name in "qkvo"}),
        (packed(("a", INT4), ignore=["self_attn"]), set()),
    ],
)  # fmt: skip
def test_what_stays_plain(quantisation: dict[str, Any], plain: set[tuple[str, str]]) -> None:
    found = read(quantisation)
    assert kept(found) == plain
    none = {"modules_to_not_convert", "modules_in_block_to_quantize", "dynamic", "ignored_layers", "ignore"}
    whole = read({key: value for key, value in quantisation.items() if key not in none})
    assert (stored(found) > stored(whole)) is bool(plain)


def test_experts_are_left_out_as_a_whole() -> None:
    for quantisation in (
        {**STATIC, "ignored_layers": ["model.layers.1.block_sparse_moe.experts.3.w1"]},
        {**AWQ, "modules_to_not_convert": ["layers.1.block_sparse_moe.experts"]},
        packed(("g", INT4), ignore=["re:.*layers.1.block_sparse_moe.experts.*"]),
        {**MODELOPT, "ignore": ["model.layers.1.block_sparse_moe*"]},
    ):
        plain = read(quantisation, MIXTRAL).quantisation.plain
        assert plain == {(1, "experts", "gate and up"), (1, "experts", "down")}, quantisation


@pytest.mark.parametrize(
    ("quantisation", "head"),
    [
        (AWQ, False),
        ({**AWQ, "lm_head": True}, True),
        ({**GPTQ, "lm_head": True}, True),
        (STATIC, False),
        (packed(("g", INT4)), False),
        ({**MODELOPT, "ignore": []}, True),
        (MODELOPT, False),
    ],
)
def test_the_head(quantisation: dict[str, Any], head: bool) -> None:
    assert read(quantisation).quantisation.head is head


@pytest.mark.parametrize(
    ("quantisation", "said"),
    [
        (
            {**STATIC, "ignored_layers": ["model.layers.3.self_attn.q_proj"]},
            "of model.layers.3.self_attn.q_proj, model",
        ),
        ({**AWQ, "modules_to_not_convert": ["q_proj"]}, "some are quantised and some are not"),
        (packed(("g", INT4), ignore=["re:.*[q_proj"]), "is no pattern"),
        ({**GPTQ, "dynamic": {"-:*": {}}}, "is no pattern"),
        ({**GPTQ, "dynamic": {r"+:.*\.1\..*": {"bits": 8}}}, "several unlike kinds of weights"),
        (packed(("g", INT4), ("h", {**INT4, "num_bits": 8})), "unlike weights: g (int, 4 bits, groups of 32) and h ("),
        (packed(("g", {**INT4, "num_bits": 5})), "5 bits a weight"),
        (packed(("g", {**FP8, "num_bits": 4, "strategy": "tensor_group", "group_size": 16})), "4-bit float weights"),
        (packed(("g", INT4), sparsity_config={"format": "dense", "targets": ["Linear"]}), "'dense' with targets"),
        (
            packed(("g", INT4), sparsity_config={"format": "sparse-24-bitmask", "targets": ["re:.*"]}),
            "removed sparsity",
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "config_groups is missing or empty"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "'modelopt_fp4' cannot be planned"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "'modelopt_mixed' cannot be planned"),
        ({"quant_method": "modelopt"}, "quant_algo '' is not known"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "field zero_point is missing"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "field desc_act is missing"),
        ({"quant_method": "fp8"}, "field activation_scheme is missing"),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1}, "field modules_to_not_convert is missing"),
        ({**STATIC, "weight_block_size": [128, 128]}, "vLLM takes dynamic"),
        ({"quant_method": 3}, "quant_method is 3, not a word"),
    ],
)
def test_what_vllm_refuses_or_nobody_can_count_is_refused(quantisation: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^mine\.json: quantization_config") as refused:
        read(quantisation)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_equal_groups_are_one_and_the_attentions_group_is_none() -> None:
    layers = [["re:.*self_attn.*_proj"], ["re:.*mlp.*"]]
    groups = {f"g{i}": {"targets": targets, "weights": INT4} for i, targets in enumerate(layers)}
    groups["cache"] = {"targets": ["LlamaAttention"], "weights": FP8}
    told = packed(config_groups=groups)
    assert read(told) == read(packed(("group_0", INT4)))
    del groups["g1"]
    assert kept(read(told)) == {("mlp", "gate and up"), ("mlp", "down")}
    assert read(packed(("g", INT4), sparsity_config={"format": "dense", "targets": []})).quantisation.bits == 4


def test_where_vllm_looks(tmp_path: Path) -> None:
    told = packed(("group_0", INT4), ignore=["lm_head"])
    usual = read(told)
    assert stored(usual) / 1e9 == pytest.approx(4.52, abs=0.005)
    assert read(compression_config=told) == read(text_config={"quantization_config": told}) == usual
    assert read(AWQ, compression_config=told).quantisation.method == "awq"
    assert read({}) == read()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA))
    legacy = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head", "*self_attn*"]}
    beside = tmp_path / "hf_quant_config.json"
    beside.write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": legacy}))
    found = shapes.read(config, "mine")
    assert (found.quantisation.origin, found.quantisation.head) == ("modelopt", False)
    assert kept(found) == {("attention", name) for name in "qkvo"}
    config.write_text(json.dumps({**LLAMA, "quantization_config": AWQ}))
    assert shapes.read(config, "mine").quantisation.origin == "awq"
    beside.rename(tmp_path / "quantize_config.json")
    assert shapes.read(config, "mine").quantisation.origin == "awq"
    config.write_text(json.dumps(LLAMA))
    with pytest.raises(ProfileError, match=r"quantize_config.json: the locked vLLM does not look there"):
        shapes.read(config, "mine")


def test_a_directory_with_weights_that_nobody_can_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "quantization_config": {"quant_method": "quark"}}))
    with pytest.raises(ProfileError, match="quant_method 'quark' cannot be planned"):
        models.entry(str(tmp_path))


@pytest.mark.parametrize(
    ("told", "gpu", "cpu"),
    [
        ({}, 16384, 16384),
        ({"rope_scaling": None}, 16384, 16384),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, ORIGINAL: 16384}}, 65536, 16384),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, 65536, 16384),
        ({"rope_scaling": {"type": "yarn", "factor": 32, ORIGINAL: 4096}}, 131072, 16384),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}, ORIGINAL: 8192}, 16384, 16384),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 32768, 32768),
        ({"rope_scaling": {"type": "dynamic", "factor": 1.5}}, 24576, 24576),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, ORIGINAL: 8192}}, 16384, 16384),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 32.0, "short_factor": []}}, 16384, 16384),
        ({"rope_scaling": {"type": "su", "factor": 32.0}}, 16384, 16384),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}, 16384, 16384),
        ({"rope_scaling": {"type": "linear", "factor": None}}, 16384, 16384),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8}, "sliding_attention": None}},
         131072, 131072),
        ({"model_max_length": 4096}, 4096, 4096),
    ],
)  # fmt: skip
def test_the_longest_request_under_scaling(told: dict[str, Any], gpu: int, cpu: int) -> None:
    found = read(**told)
    assert (found.longest("cuda"), found.longest("rocm"), found.longest("cpu")) == (gpu, gpu, cpu)


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({"rope_type": "magic", "factor": 2}, "rope_scaling: rope_type 'magic' is not known to the locked vLLM"),
        ({"rope_type": "linear", "factor": "2"}, "factor is '2'"),
        ({"rope_type": "linear", "factor": -1}, "factor is -1"),
        ({"rope_type": "linear", "factor": float("nan")}, "factor is nan"),
        ("yarn", "rope_scaling is 'yarn', not an object"),
    ],
)
def test_a_scaling_that_cannot_be(scaling: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(rope_scaling=scaling)
    assert said in str(refused.value)
