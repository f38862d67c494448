"""Public models: parameter counts and cache sizes as published, and configurations that have to be refused.

Published figures and where each was read are in fixtures/published_models.json; the configurations are those in
inventories/models/configs, each with its own source.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hardware.planner import configuration, tensors
from hardware.planner.architecture import Model
from hardware.planner.errors import ConfigurationError

CONFIGS = Path(__file__).parents[3] / "inventories" / "models" / "configs"
PUBLISHED = json.loads((Path(__file__).parent / "fixtures" / "published_models.json").read_text())
MODELS: dict[str, dict[str, Any]] = PUBLISHED["models"]
UNITS = {"": 1, "M": 10**6, "B": 10**9, "KB": 10**3, "GB": 10**9, "KiB": 2**10, "GiB": 2**30}

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


def with_a(part: str) -> list[str]:
    return [name for name, entry in MODELS.items() if part in entry]


def matches(value: float, part: dict[str, Any]) -> bool:
    """Whether a value, rounded as the published figures are, is what they add up to."""
    total, slack = Decimal(0), Decimal(0)
    for printed in part["published"]:
        number, _, unit = printed.partition(" ")
        total += Decimal(number) * UNITS[unit]
        slack += Decimal((0, (5,), int(Decimal(number).as_tuple().exponent) - 1)) * UNITS[unit]
    return abs(Decimal(value) + Decimal(part.get("stored_beside", 0)) - total) <= slack


def stored_bytes(whole: Model) -> float:
    layers = (t for index in range(len(whole.layers)) for t in tensors.layer_tensors(whole, index))
    return sum(
        tensors.stored_bytes(t, whole)
        for t in (*layers, *tensors.embedding_tensors(whole), *tensors.head_tensors(whole))
    )


@pytest.mark.parametrize("name", with_a("parameters"))
def test_parameters_are_the_published_ones(name: str) -> None:
    assert matches(tensors.parameter_count(model(name)), MODELS[name]["parameters"])


@pytest.mark.parametrize("name", with_a("stored"))
def test_bytes_of_the_checkpoint_are_the_published_ones(name: str) -> None:
    """Plain ones and those in AWQ and MXFP4: packed weights, scales, zero points, and what stays in 16 bits."""
    assert matches(stored_bytes(model(name)), MODELS[name]["stored"])


@pytest.mark.parametrize("name", with_a("cache"))
def test_cache_is_the_published_one(name: str) -> None:
    part = MODELS[name]["cache"]
    assert matches(model(name).kv_cache_bytes_per_token(2) * part["tokens"], part)


def test_twenty_models_have_both_figures_and_every_figure_has_its_source() -> None:
    assert len(set(with_a("parameters")) & set(with_a("cache"))) >= 20
    for name, entry in MODELS.items():
        for part in ("parameters", "stored", "cache"):
            if part in entry:
                assert entry[part]["source"] in PUBLISHED["sources"], (name, part)
    assert set(MODELS) == {path.stem for path in CONFIGS.glob("*.json")}, "a configuration without a published figure"


def test_a_figure_that_differs_in_its_last_digit_is_not_the_published_one() -> None:
    assert matches(70_272, {"published": ["70.272 KB"]})
    assert not matches(70_273, {"published": ["70.272 KB"]})
    assert matches(12_155_301_888, {"published": ["4.96 GB", "5.00 GB", "2.20 GB"]})
    assert not matches(12_180_000_000, {"published": ["4.96 GB", "5.00 GB", "2.20 GB"]})


@pytest.mark.parametrize("name", ROUNDED)
def test_totals_and_active_parameters_of_mixtures(name: str) -> None:
    total, active, source = ROUNDED[name]
    assert tensors.parameter_count(model(name)) / 1e9 == pytest.approx(total, rel=0.005), source
    # Cards differ in whether embeddings are active: gpt-oss leaves them out.
    outer = sum(t.parameters for t in tensors.embedding_tensors(model(name))) / 1e9
    found = tensors.active_parameter_count(model(name)) / 1e9
    assert min(abs(found - active), abs(found - outer - active)) <= 0.05 * active, (found, source)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.json")))
def test_every_configuration_says_where_it_is_from(name: str) -> None:
    assert "https://" in config(name)["_source"]
    assert tensors.parameter_count(model(name)) > 8e7


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
    assert all(layer.window_tokens is None for layer in model("qwen2.5-14b").layers)
    assert all(layer.window_tokens == 4096 for layer in model("mistral-7b-v0.1").layers)
