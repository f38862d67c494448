"""Public models: parameter counts and cache sizes as published, and configurations that have to be refused.

Counts are those that the Hugging Face API states for the repository (`safetensors.total` of
https://huggingface.co/api/models/REPOSITORY), or the paper or card named in the row. The configurations are those in
inventories/model_configs, each with its own source.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardware.planner import configuration, tensors
from hardware.planner.architecture import Model
from hardware.planner.errors import ConfigurationError

CONFIGS = Path(__file__).parents[3] / "inventories" / "model_configs"
API = "https://huggingface.co/api/models/"
INSIGHTS = "DeepSeek-AI, Insights into DeepSeek-V3, 2025, table 1 (cache of one token in BF16)"
META = "Grattafiori et al., The Llama 3 Herd of Models, 2024, table 3: layers, KV heads and head size"

# name -> published parameters, where.
PARAMETERS: dict[str, tuple[int, str]] = {
    "smollm2-135m-instruct": (134_515_008, API + "HuggingFaceTB/SmolLM2-135M-Instruct"),
    "tinyllama-1.1b": (1_100_048_384, API + "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    "llama-2-7b": (6_738_415_616, API + "meta-llama/Llama-2-7b-hf less its 2048 stored rotary frequencies"),
    "llama-3.2-1b": (1_235_814_400, API + "meta-llama/Llama-3.2-1B"),
    "llama-3.1-8b": (8_030_261_248, API + "meta-llama/Llama-3.1-8B"),
    "llama-3.1-70b": (70_553_706_496, API + "meta-llama/Llama-3.1-70B"),
    "llama-3.1-405b": (405_853_388_800, API + "meta-llama/Llama-3.1-405B"),
    "mistral-7b-v0.1": (7_241_732_096, API + "mistralai/Mistral-7B-v0.1"),
    "mistral-small-2409": (22_247_282_688, API + "mistralai/Mistral-Small-Instruct-2409"),
    "mixtral-8x7b-v0.1": (46_702_792_704, API + "mistralai/Mixtral-8x7B-v0.1"),
    "qwen2.5-0.5b": (494_032_768, API + "Qwen/Qwen2.5-0.5B"),
    "qwen2.5-7b-instruct-awq": (7_615_616_512, API + "Qwen/Qwen2.5-7B-Instruct, which it quantises"),
    "qwen2.5-14b": (14_770_033_664, API + "Qwen/Qwen2.5-14B"),
    "qwen2.5-72b": (72_706_203_648, API + "Qwen/Qwen2.5-72B"),
    "qwen3-8b": (8_190_735_360, API + "Qwen/Qwen3-8B"),
    "qwen3-30b-a3b": (30_532_122_624, API + "Qwen/Qwen3-30B-A3B"),
    "qwen1.5-moe-a2.7b": (14_315_784_192, API + "Qwen/Qwen1.5-MoE-A2.7B"),
    "deepseek-v2-lite": (15_706_484_224, API + "deepseek-ai/DeepSeek-V2-Lite"),
    "olmoe-1b-7b": (6_919_161_856, API + "allenai/OLMoE-1B-7B-0924"),
    "gemma-2-2b": (2_614_341_888, API + "google/gemma-2-2b"),
    "phi-2": (2_779_683_840, API + "microsoft/phi-2"),
    "phi-3-mini-4k": (3_821_079_552, API + "microsoft/Phi-3-mini-4k-instruct"),
    "starcoder2-3b": (3_030_371_328, API + "bigcode/starcoder2-3b"),
    "gpt2": (124_439_808, "Radford et al. 2019, 124 M; the count that transformers prints for openai-community/gpt2"),
}

# name -> published cache bytes of a token in 16 bits, where.
CACHE: dict[str, tuple[int, str]] = {
    "deepseek-v3": (70_272, INSIGHTS),
    "qwen2.5-72b": (327_680, INSIGHTS),
    "llama-3.1-405b": (516_096, INSIGHTS),
    "llama-3.1-8b": (2 * 32 * 8 * 128 * 2, META),
    "llama-3.1-70b": (2 * 80 * 8 * 128 * 2, META),
}

# name -> published total and active parameters in billions, as their cards round them.
ROUNDED = {
    "deepseek-v3": (671.0, 37.0, "DeepSeek-V3 technical report, abstract"),
    "gpt-oss-20b": (20.9, 3.6, "gpt-oss model card, table 1"),
    "qwen3-30b-a3b": (30.5, 3.3, "https://huggingface.co/Qwen/Qwen3-30B-A3B"),
    "mixtral-8x7b-v0.1": (46.7, 12.9, "Jiang et al., Mixtral of Experts, 2024"),
    "olmoe-1b-7b": (6.9, 1.3, "Muennighoff et al., OLMoE, 2024"),
}


def config(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return value


def model(name: str) -> Model:
    return configuration.read(config(name), name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    published, source = PARAMETERS[name]
    assert tensors.parameter_count(model(name)) == published, source


@pytest.mark.parametrize("name", ROUNDED)
def test_totals_and_active_parameters_of_mixtures(name: str) -> None:
    total, active, source = ROUNDED[name]
    assert tensors.parameter_count(model(name)) / 1e9 == pytest.approx(total, rel=0.005), source
    # Cards differ in whether embeddings are active: gpt-oss leaves them out.
    outer = sum(t.parameters for t in tensors.embedding_tensors(model(name))) / 1e9
    found = tensors.active_parameter_count(model(name)) / 1e9
    assert min(abs(found - active), abs(found - outer - active)) <= 0.05 * active, (found, source)


@pytest.mark.parametrize("name", CACHE)
def test_cache_of_a_token_is_the_published_one(name: str) -> None:
    published, source = CACHE[name]
    assert model(name).kv_cache_bytes_per_token(2) == published, source


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.json")))
def test_every_configuration_says_where_it_is_from(name: str) -> None:
    assert "https://" in config(name)["_source"]
    assert tensors.parameter_count(model(name)) > 1e8


def test_weights_in_sixteen_bits_are_two_bytes_a_parameter() -> None:
    """The index of Llama-3.1-8B's safetensors says total_size 16060522496."""
    name = "llama-3.1-8b"
    whole = model(name)
    stored = sum(
        tensors.stored_bytes(t, whole) for i in range(len(whole.layers)) for t in tensors.layer_tensors(whole, i)
    )
    stored += sum(
        tensors.stored_bytes(t, whole)
        for part in (tensors.embedding_tensors, tensors.head_tensors)
        for t in part(whole)
    )
    assert stored == 16_060_522_496


def test_awq_is_packed_weights_scales_and_zero_points() -> None:
    """By hand, for groups of 128: 4 bits, a 16-bit scale and a 4-bit zero point for each group and output."""
    quantised = model("mistral-small-instruct-2409-awq").quantisation
    assert tensors.quantised_bytes(1024, 256, quantised) == 1024 * 256 / 2 + 1024 * 2 * 2 + 1024 * 2 / 2


@pytest.mark.parametrize(
    ("layers", "stages", "cut"),
    [
        # vllm/distributed/utils.py:get_pp_indices: what is left over goes to the stages before the last.
        (32, 4, [8, 8, 8, 8]),
        (30, 4, [7, 8, 8, 7]),
        (31, 4, [8, 8, 8, 7]),
        (61, 2, [31, 30]),
    ],
)
def test_layers_are_cut_as_vllm_cuts_them(layers: int, stages: int, cut: list[int]) -> None:
    assert [end - first for first, end in tensors.pipeline_layers(layers, stages)] == cut


GOOD = config("llama-3.1-8b")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["FutureForCausalLM"]}, "architecture 'FutureForCausalLM' is not known"),
        ({"architectures": None}, "field architectures is missing"),
        ({"architectures": "LlamaForCausalLM"}, "architectures is no list of words"),
        ({"hidden_size": None}, "field hidden_size is missing"),
        ({"hidden_size": -4096}, "hidden_size is -4096, outside"),
        ({"hidden_size": 4096.5}, "not a whole number"),
        ({"hidden_size": "4096"}, "not a whole number"),
        ({"hidden_size": True}, "not a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, outside"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, outside"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, outside"),
        ({"num_key_value_heads": 5}, "not a multiple of num_key_value_heads 5"),
        ({"num_attention_heads": 31, "num_key_value_heads": 31}, "head_dim is missing"),
        ({"torch_dtype": "float8"}, "torch_dtype 'float8' is not known"),
        ({"tie_word_embeddings": "yes"}, "it has to be true or false"),
        ({"quantization_config": {"quant_method": "magic"}}, "quant_method 'magic' is not known"),
        ({"quantization_config": {"quant_method": "awq", "bits": 5}}, "5 bits a weight"),
        ({"quantization_config": {"quant_method": "gptq"}}, "field bits is missing"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}}, "two numbers"),
        ({"quantization_config": "awq"}, "not an object"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^mine\.json") as refused:
        configuration.read({**GOOD, **change}, "mine", "mine.json")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["moe_intermediate_size", "num_experts", "num_experts_per_tok"])
def test_a_mixture_without_its_fields_is_refused(field: str) -> None:
    broken = config("qwen3-30b-a3b")
    del broken[field]
    with pytest.raises(ConfigurationError, match="is missing"):
        configuration.read(broken, "mine")


def test_more_active_experts_than_there_are() -> None:
    with pytest.raises(ConfigurationError, match="more than the 128 experts"):
        configuration.read({**config("qwen3-30b-a3b"), "num_experts_per_tok": 129}, "mine")


def test_layers_of_each_kind() -> None:
    first = model("deepseek-v3").layers
    assert [layer.experts for layer in first[:4]] == [False, False, False, True]
    assert [layer.window_tokens for layer in model("gpt-oss-20b").layers[:3]] == [128, None, 128]
    assert not model("qwen2.5-14b").windowed
    assert all(layer.window_tokens == 4096 for layer in model("mistral-7b-v0.1").layers)
