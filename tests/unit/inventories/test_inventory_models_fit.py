"""Whether a model fits: the arithmetic by hand, the refusals, and the judgement on this project's own profiles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.laptop import CLUSTER as LAPTOP
from hardware.model import GIB, Cluster, RuntimeKind
from hardware.planner import assumptions, fit, plan
from hardware.planner.architecture import Quantisation, Sizes
from hardware.planner.fit import FitJudgement, fit_as
from hardware.planner.options import Options
from hardware.planner.prediction import Workload
from hardware.planner.rates import Device
from hardware.planner.served import Place, ServedModel, place_of
from hardware.planner.tensors import WHOLE, Sharding
from hardware.v0_1 import CLUSTER as V0_1
from inventories import models

GPT2 = models.entry("gpt2").served
AWQ = models.entry("mistral-small-instruct-2409-awq").served
T5 = models.entry("flan-t5-small").served
HALF = Options(dtype="float16")


def cards(kind: RuntimeKind, architecture: str, size: float, per_node: int = 1, nodes: int = 1) -> Place:
    device = Device("card", "node", kind, architecture, memory_bytes=size)
    return Place(kind, (device,), nodes, per_node)


def host(size: float | None, engines: int = 1) -> Place:
    reserve = assumptions.HOST_RESERVE_BYTES
    device = Device("host", "node", "cpu", "cpu", memory_bytes=size, reserve_bytes=reserve)
    return Place("cpu", (device,), 2, sharing=engines)


def place(cluster: Cluster) -> Place:
    return place_of(cluster.compute)


def test_the_arithmetic_by_hand() -> None:
    """77 million numbers of 4 bytes, a cache of 2 x 8 layers x 6 heads x 64 x 4 bytes a token, and the engine's own."""
    judged = fit_as(T5, host(None), Options(dtype="float32"))
    own = assumptions.TRANSFORMERS_BYTES.likely
    assert judged.needed_bytes == 76_961_152 * 4 + 2 * 8 * 6 * 64 * 4 * 512 + own
    assert judged.ok is None and "states no memory" in judged.detail
    (rank,) = fit_as(GPT2, host(None), Options(dtype="bfloat16")).ranks
    assert rank.sequence_bytes == 2 * 12 * 12 * 64 * 2 * 1024
    assert rank.context_bytes == assumptions.PROCESSOR_BYTES.likely
    assert rank.weights_bytes == pytest.approx(124_439_808 * 2, rel=0.001), "and a vocabulary of whole 64s"
    masked = models.entry("distilbert-base-uncased").served.shape
    assert isinstance(masked, Sizes) and masked.cached_values_per_token == 0


def test_one_byte_decides() -> None:
    told = Options(dtype="bfloat16", kv_cache_memory_bytes=GIB)
    needed = fit_as(GPT2, host(None), told).needed_bytes
    enough = needed + assumptions.HOST_RESERVE_BYTES
    assert fit_as(GPT2, host(enough), told).ok is True
    less = fit_as(GPT2, host(enough - 1), told)
    assert less.ok is False and "a node has" in less.detail and less.remedy
    assert fit.fit_on_host(needed, enough, assumptions.HOST_RESERVE_BYTES).ok is True
    assert fit.fit_on_host(needed, enough - 1, assumptions.HOST_RESERVE_BYTES).ok is False


def test_engines_of_one_machine_share_its_memory_in_both_sums() -> None:
    """Two engines in equal parts of a memory, and one beside the need of the other, are the same judgement."""
    told = Options(dtype="bfloat16", kv_cache_memory_bytes=GIB)
    needed = fit_as(GPT2, host(None), told).needed_bytes
    for size in (2 * needed + GIB, 2 * needed + GIB - 2):
        halves = fit_as(GPT2, host(size, engines=2), told).ok
        assert halves is fit.fit_on_host(needed, size, GIB, other_bytes=needed).ok is (size == 2 * needed + GIB)


def test_awq_does_not_run_on_a_cpu_and_says_where() -> None:
    judged = fit_as(AWQ, host(1000 * GIB), Options())
    assert judged.ok is False
    assert "awq weights cannot run on cpu" in judged.detail and "cuda or rocm" in judged.remedy


def test_a_data_type_that_the_model_does_not_have_is_refused() -> None:
    judged = fit_as(T5, host(100 * GIB), HALF)
    assert judged.ok is False and "does not compute in float16" in judged.detail
    assert judged.remedy == "use float32 or bfloat16"


def test_it_spans_nodes_when_one_is_too_small() -> None:
    judged = fit_as(AWQ, place(GEFORCE_PAIR), Options())
    assert (judged.ok, judged.nodes) == (True, 2)
    assert "over 2 nodes" in judged.detail and "span" in judged.remedy
    assert fit_as(AWQ, replace(place(GEFORCE_PAIR), nodes=1), Options()).ok is False


def test_transformers_runs_on_one_accelerator_and_does_not_span() -> None:
    needed = fit_as(T5, cards("cuda", "sm_90", 100 * GIB), Options()).needed_bytes
    assert fit_as(T5, cards("cuda", "sm_90", needed, 2, 2), Options()).ok is False, "92 percent of it are not enough"
    assert fit_as(T5, cards("cuda", "sm_90", needed * 2, 2, 2), Options()).ok is True


def test_heads_that_are_not_divided() -> None:
    small = models.entry("smollm2-135m-instruct").served
    judged = fit_as(small, cards("cuda", "sm_90", 80 * GIB, 2), Options())
    assert judged.ok is False and "TP 2 does not divide the 9 attention heads" in judged.detail


def test_what_nobody_knows_is_not_judged() -> None:
    assert fit_as(GPT2, place(LAPTOP), Options()).ok is None, "the laptop's profile states no memory"
    assert fit_as(models.entry("hub:a/b").served, place(V0_1), Options()).ok is None


def test_the_weakest_node_counts() -> None:
    """Of two cards the small one is too small, whichever node has it."""
    big, small = (Device("card", "n", "cuda", "sm_90", memory_bytes=size * GIB) for size in (80, 4))
    for devices in ((big, small), (small, big)):
        assert fit_as(models.entry("llama-3.1-8b").served, Place("cuda", devices, 1), Options()).ok is False
    given = place(V0_1).to_json()
    assert (given["kind"], given["nodes"], given["accelerators"]) == ("rocm", 2, 1)
    assert given["accelerator_bytes"] == 16 * GIB


@pytest.mark.parametrize("name", [entry.name for entry in models.entries()])
def test_a_model_fits_the_smallest_accelerator_that_is_said_to_hold_it(name: str) -> None:
    served = models.entry(name).served
    smallest = fit.smallest_accelerator_bytes(served)
    assert smallest is not None

    def held(size: float) -> bool:
        found = (fit_as(served, cards("cuda", "sm_90", size), Options(dtype=one)) for one in served.dtypes["cuda"])
        return any(judged.ok for judged in found)

    assert held(smallest + 16) and not held(smallest * 0.99)


def test_the_room_that_the_fetch_judges_by_agrees_with_the_fit() -> None:
    two = place(GEFORCE_PAIR)
    judged = fit_as(AWQ, two, HALF, "span")
    room = fit.room_for_weights(AWQ, two, Sharding(1, 2), HALF)
    assert room is not None and room.bytes is not None and judged.available_bytes is not None
    assert judged.available_bytes == 2 * int(12 * GIB * assumptions.MEMORY_SHARE) + 1, "of two halves of a byte"
    weights = sum(rank.weights_bytes for rank in judged.ranks)
    assert room.bytes - weights == pytest.approx(judged.available_bytes - judged.needed_bytes, abs=2)
    assert fit.room_for_weights(AWQ, host(GIB), WHOLE, HALF) is None, "it does not run there"
    unknown = fit.room_for_weights(models.entry("hub:a/b").served, two, WHOLE, HALF)
    assert unknown is not None and unknown.bytes == int(12 * GIB * assumptions.MEMORY_SHARE) - unknown.other_bytes
    laptop = fit.room_for_weights(GPT2, place(LAPTOP), WHOLE, Options())
    assert laptop is not None and laptop.bytes is None
    given = fit.room_on_host(laptop.other_bytes, 8 * GIB, laptop.reserve_bytes, laptop.share, 2)
    assert given == 7 * GIB // 2 - laptop.other_bytes


def test_what_is_declared_is_judged_and_not_what_would_fit() -> None:
    """Two cards of 12 GiB: one engine over both fits, one on each does not."""
    two = place(GEFORCE_PAIR)
    assert fit_as(AWQ, two, Options(), "span").ok is True
    judged = fit_as(AWQ, two, Options(), "replicas")
    assert judged.ok is False and judged.remedy == 'serve it with mode="span"'
    assert judged.available_bytes is not None
    short = (judged.needed_bytes - judged.available_bytes) / GIB
    assert f": {short:.1f} GiB too little; weights 11.3 GiB" in judged.detail
    over = fit_as(models.entry("qwen3-30b-a3b").served, two, Options(), "span")
    assert over.ok is False and "2 nodes have 22.1 GiB" in over.detail


@pytest.mark.parametrize(
    ("kind", "architecture", "quantization", "dtype", "said"),
    [
        ("cuda", "sm_70", "", "bfloat16", "bfloat16 needs compute capability 8.0"),
        ("cuda", "sm_70", "awq", "float16", "awq needs compute capability 7.5"),
        ("rocm", "gfx1030", "", "float16", "gfx1030 is not among"),
        ("rocm", "gfx1100", "fp8", "float16", "has no FP8 units"),
        ("rocm", "gfx1100", "awq", "bfloat16", "takes float16, not bfloat16"),
    ],
)
def test_without_kernels_it_does_not_fit(
    kind: RuntimeKind, architecture: str, quantization: str, dtype: str, said: str
) -> None:
    methods = {
        "": Quantisation(),
        "awq": Quantisation("awq", 4, 128, origin="awq"),
        "fp8": Quantisation("fp8", 8, activations=True),
    }
    shape = replace(models.entry("qwen2.5-0.5b").served.shape, quantisation=methods[quantization])  # type: ignore[type-var]
    served = ServedModel("mine", shape)
    judged = fit_as(served, cards(kind, architecture, 80 * GIB), Options(dtype=dtype))  # type: ignore[arg-type]
    assert judged.ok is False and said in judged.detail and architecture in judged.detail
    assert fit_as(served, cards("cuda", "sm_90", 80 * GIB), HALF).ok is True
    if dtype == "bfloat16":
        assert fit_as(served, cards(kind, architecture, 80 * GIB), Options()).dtype == "float16"


def test_the_engines_own_options_are_counted() -> None:
    def needed(**given: int) -> int:
        return fit_as(GPT2, host(None), Options(dtype="bfloat16", **given)).needed_bytes  # type: ignore[arg-type]

    assert needed(max_model_len=1024) - needed(max_model_len=512) == 36_864 * 512
    assert needed(kv_cache_memory_bytes=GIB) - needed(max_model_len=512) == GIB - 36_864 * 512
    longer = fit_as(GPT2, host(None), Options(max_model_len=2048))
    assert longer.ok is False and "context 2048 is more than its 1024 tokens" in longer.detail


def judged_by_the_plan(length: int) -> FitJudgement:
    made = plan.make(V0_1, AWQ, Workload(64, 64, (1,)), Options(max_model_len=length, enforce_eager=True))
    (alone,) = [one for one in made.candidates if one.placement.sharding == WHOLE]
    return alone.judgement


@pytest.mark.parametrize(("length", "ok"), [(8192, True), (10_000, True), (12_000, True), (13_000, False)])
def test_the_plan_and_up_say_the_same(length: int, ok: bool) -> None:
    """Mistral on one 16 GiB card of v0_1: once `up` refused a context of 10000 tokens that the plan recommended."""
    options = Options(dtype="float16", max_model_len=length, enforce_eager=True)
    assert fit_as(AWQ, place(V0_1), options, "replicas") == replace(judged_by_the_plan(length), remedy=(
        "" if ok else 'serve it with mode="span"'
    ))  # fmt: skip
    assert judged_by_the_plan(length).ok is ok
