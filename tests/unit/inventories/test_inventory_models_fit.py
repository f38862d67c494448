"""Whether a model fits: the arithmetic by hand, the refusals, and the judgement on this project's own profiles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.laptop import CLUSTER as LAPTOP
from hardware.model import GIB, RuntimeKind
from hardware.v0_1 import CLUSTER as V0_1
from inventories import models
from inventories.models.fit import (
    HOST_RESERVE_BYTES,
    OVERHEAD_BYTES,
    Place,
    fit,
    limits,
    minimum_accelerator_bytes,
    needed_bytes,
    place_of,
)

GPT2 = models.entry("gpt2")
AWQ = models.entry("mistral-small-instruct-2409-awq")
T5 = models.entry("flan-t5-small")


def test_the_arithmetic_by_hand() -> None:
    # 124 439 808 parameters of 2 bytes; 2 x 12 layers x 12 heads x 64 x 2 bytes a token, 1024 tokens.
    assert GPT2.weights_bytes("bfloat16") == 248_879_616
    assert GPT2.cache_bytes_a_token("bfloat16") == 36_864
    expected = 248_879_616 + 36_864 * 1024 + OVERHEAD_BYTES["vllm", "host"]
    assert needed_bytes(GPT2, "bfloat16") == expected
    assert AWQ.weights_bytes("float16") == AWQ.weights_bytes_on_disk, "4-bit weights have the size that they have"
    assert models.entry("distilbert-base-uncased").cache_bytes_a_token("float32") == 0


def test_one_byte_decides() -> None:
    needed = needed_bytes(GPT2, "bfloat16")
    enough = Place("cpu", 1, host_bytes=needed + HOST_RESERVE_BYTES)
    assert fit(GPT2, enough).ok is True
    less = fit(GPT2, replace(enough, host_bytes=needed + HOST_RESERVE_BYTES - 1))
    assert less.ok is False and "a node has" in less.detail and less.remedy


def test_awq_does_not_run_on_a_cpu_and_says_where() -> None:
    judged = fit(AWQ, Place("cpu", 2, host_bytes=1000 * GIB))
    assert judged.ok is False
    assert "awq weights cannot run on cpu" in judged.detail and "cuda or rocm" in judged.remedy


def test_a_data_type_that_the_model_does_not_have_is_refused() -> None:
    judged = fit(T5, Place("cpu", 1, host_bytes=100 * GIB), "float16")
    assert judged.ok is False and "does not compute in float16" in judged.detail
    assert judged.remedy == "use float32 or bfloat16"


def test_it_spans_nodes_when_one_is_too_small() -> None:
    judged = fit(AWQ, place_of(GEFORCE_PAIR))
    assert (judged.ok, judged.nodes) == (True, 2)
    assert "over 2 nodes" in judged.detail and "span" in judged.remedy
    assert fit(AWQ, replace(place_of(GEFORCE_PAIR), nodes=1)).ok is False


def test_transformers_runs_on_one_accelerator_and_does_not_span() -> None:
    needed = needed_bytes(T5, "float32", on="accelerator")
    two_small = Place("cuda", 2, accelerators=2, accelerator_bytes=needed)  # 90 percent of it are not enough
    assert fit(T5, two_small).ok is False
    assert fit(T5, replace(two_small, accelerator_bytes=needed * 2)).ok is True


def test_heads_that_are_not_divided() -> None:
    judged = fit(models.entry("smollm2-135m-instruct"), Place("cuda", 1, accelerators=2, accelerator_bytes=80 * GIB))
    assert judged.ok is False and "9 attention heads are not divided by 2 accelerators" in judged.detail


def test_what_nobody_knows_is_not_judged() -> None:
    assert fit(GPT2, place_of(LAPTOP)).ok is None, "the laptop's profile states no memory"
    assert fit(models.entry("hub:a/b"), place_of(V0_1)).ok is None


def test_the_weakest_node_counts() -> None:
    place = place_of(V0_1)
    assert (place.kind, place.nodes, place.accelerators, place.accelerator_bytes) == ("rocm", 2, 1, 16 * GIB)


@pytest.mark.parametrize("name", [entry.name for entry in models.entries()])
def test_a_model_fits_the_smallest_accelerator_that_is_said_to_hold_it(name: str) -> None:
    entry = models.entry(name)
    smallest = minimum_accelerator_bytes(entry)
    leanest = min(entry.dtypes, key=entry.weights_bytes)
    place = Place("cuda", 1, accelerators=1, accelerator_bytes=smallest + 16)
    assert fit(entry, place, leanest).ok is True
    assert fit(entry, replace(place, accelerator_bytes=int(smallest * 0.99)), leanest).ok is False


def test_the_limits_that_the_fetch_judges_by_agree_with_the_fit() -> None:
    place = place_of(GEFORCE_PAIR)
    given = limits(AWQ, place)
    assert given["memory_bytes"] == int(12 * GIB * 0.9) * 2
    assert AWQ.weights_bytes("float16") + given["other_bytes"] == fit(AWQ, place).needed_bytes
    assert limits(AWQ, Place("cpu", 1, host_bytes=GIB)) == {}
    assert limits(AWQ, place, span=False)["memory_bytes"] == int(12 * GIB * 0.9)
    assert limits(GPT2, place_of(LAPTOP))["memory_bytes"] is None


def test_what_is_declared_is_judged_and_not_what_would_fit() -> None:
    """Two cards of 12 GiB: one engine over both fits, one on each does not."""
    place = place_of(GEFORCE_PAIR)
    assert fit(AWQ, place, mode="span").ok is True
    judged = fit(AWQ, place, mode="replicas")
    assert judged.ok is False and judged.remedy == 'serve it with mode="span"'
    assert judged.available_bytes is not None
    short = (judged.needed_bytes - judged.available_bytes) / GIB
    assert judged.detail.endswith(f"{short:.1f} GiB too little")
    big = models.entry("qwen3-30b-a3b")
    over = fit(big, place, mode="span")
    assert over.ok is False and "they have 21.6 GiB" in over.detail and "over 2 nodes" in over.detail


@pytest.mark.parametrize(
    ("kind", "architecture", "quantization", "dtype", "said"),
    [
        ("cuda", "sm_70", "", "bfloat16", "bfloat16 needs compute capability 8.0"),
        ("cuda", "sm_70", "awq", "float16", "awq needs compute capability 7.5"),
        ("rocm", "gfx1030", "", "float16", "gfx1030 is not among"),
        ("rocm", "gfx1100", "fp8", "float16", "has no FP8 units"),
    ],
)
def test_without_kernels_it_does_not_fit(
    kind: RuntimeKind, architecture: str, quantization: str, dtype: str, said: str
) -> None:
    entry = models.entry("qwen2.5-7b-instruct-awq")
    entry = replace(entry, quantization=quantization, dtypes=("bfloat16", "float16"), dtypes_by_kind={})
    place = Place(kind, 1, accelerators=1, accelerator_bytes=80 * GIB, architectures=(architecture,))
    judged = fit(entry, place, dtype)
    assert judged.ok is False and said in judged.detail and architecture in judged.detail
    assert fit(entry, replace(place, architectures=("sm_90",), kind="cuda"), "float16").ok is True
    if dtype == "bfloat16":
        assert fit(entry, place, "auto").dtype == "float16"


def test_the_engines_own_options_are_counted() -> None:
    longer = needed_bytes(GPT2, "bfloat16", options={"max_model_len": 2048}) - needed_bytes(GPT2, "bfloat16")
    assert longer == 36_864 * 1024
    given = needed_bytes(GPT2, "bfloat16", options={"kv_cache_memory_bytes": GIB})
    assert given == GPT2.weights_bytes("bfloat16") + GIB + OVERHEAD_BYTES["vllm", "host"]
