"""What has to hold whatever the numbers are: more is never worse, units survive, parts add up.

Models, placements and rates are drawn at random with fixed seeds. A property is one test over all of its seeds, and a
failure names the seed that shows it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from hardware.model import GIB, GIGA, Cluster, Figure, Link
from hardware.planner import calibration, collectives, configuration, memory, plan, tensors, timing, what_if, work
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.collectives import Curve, Path
from hardware.planner.options import Options
from hardware.planner.placement import hardware_of, link_path
from hardware.planner.prediction import Workload
from hardware.planner.rates import Rates
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step
from hardware.v0_1 import CLUSTER as V0_1


def drawn(times: int) -> Callable[[Callable[[random.Random], None]], Callable[[], None]]:
    """A test that holds for each of `times` drawings; the first one that shows otherwise is named."""

    def over_all(holds: Callable[[random.Random], None]) -> Callable[[], None]:
        def test() -> None:
            for seed in range(times):
                try:
                    holds(random.Random(seed))  # noqa: S311 (test data, not secrets)
                except BaseException as error:
                    error.add_note(f"shown by seed {seed}")
                    raise

        test.__name__, test.__doc__ = holds.__name__, holds.__doc__
        return test

    return over_all


def a_model(draw: random.Random) -> Model:
    heads = draw.choice([8, 16, 32, 64])
    kv = draw.choice([value for value in (1, 2, 4, 8) if heads % value == 0])
    values = {
        "hidden_size": draw.choice([1024, 2048, 4096, 8192]),
        "num_hidden_layers": draw.randint(4, 60),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": draw.choice([64, 128]),
        "intermediate_size": 1024 * draw.randint(2, 20),
        "vocab_size": draw.choice([32_000, 128_256, 151_936]),
        "max_position_embeddings": 32_768,
        "torch_dtype": "bfloat16",
        "sliding_window": draw.choice([None, 1024]),
    }
    if draw.random() < 0.4:
        values |= {
            "architectures": ["Qwen3MoeForCausalLM"],
            "moe_intermediate_size": 256 * draw.randint(1, 8),
            "num_experts": draw.choice([8, 64, 128]),
            "num_experts_per_tok": draw.choice([1, 2, 8]),
        }
    else:
        values["architectures"] = ["MistralForCausalLM"]
    return configuration.read(values, "drawn")


def a_sharding(draw: random.Random, model: Model) -> Sharding:
    tensor = draw.choice([1, 2, 4, 8])
    return Sharding(tensor, draw.choice([1, 2]), 1, model.is_mixture and tensor > 1 and draw.random() < 0.5)


def a_step(draw: random.Random) -> Step:
    if draw.random() < 0.5:
        return Step(draw.randint(1, 300), draw.randint(1, 8000))
    return Step(draw.randint(1, 4), draw.randint(1, 8000), prefill=True, chunks=draw.randint(1, 4))


def some_rates(draw: random.Random) -> Rates:
    few = draw.choice([None, draw.uniform(1e10, 1e12)])
    experts = draw.choice([None, draw.uniform(1e11, 1e15)])
    values = [10 ** draw.uniform(10, 13) for _ in range(3)] + [10 ** draw.uniform(11, 15) for _ in range(2)]
    values += [10 ** draw.uniform(-6, -3) for _ in range(7)]
    return replace(Rates(*values), few_rows_flops_per_second=few, expert_flops_per_second=experts)


def seconds(model: Model, sharding: Sharding, step: Step, rates: Rates, path: Path) -> float:
    paths = {"tensor": path, "expert": path, "pipeline": path}
    return sum(
        timing.stage_timing(work.stage_work(model, sharding, stage, step, Options()), rates, paths).seconds
        for stage in range(sharding.pipeline)
    )


@drawn(60)
def test_a_higher_rate_is_never_slower(draw: random.Random) -> None:
    model, rates, step = a_model(draw), some_rates(draw), a_step(draw)
    sharding = a_sharding(draw, model)
    path = Path("any", draw.choice(["peer", "network"]), 10 ** draw.uniform(-6, -4), 10 ** draw.uniform(8, 11))
    for better in (field.name for field in fields(Rates) if field.name.endswith("per_second")):
        was = getattr(rates, better) or draw.uniform(1e10, 1e12)
        before, faster = (replace(rates, **{better: rate}) for rate in (was, was * draw.uniform(1, 10)))
        assert seconds(model, sharding, step, faster, path) <= seconds(model, sharding, step, before, path), better


@drawn(60)
def test_a_better_link_is_never_slower(draw: random.Random) -> None:
    model, rates, step = a_model(draw), some_rates(draw), a_step(draw)
    sharding = replace(a_sharding(draw, model), tensor=draw.choice([2, 4, 8]))
    path = Path("any", draw.choice(["peer", "network"]), 10 ** draw.uniform(-6, -4), 10 ** draw.uniform(8, 11))
    wider = replace(path, bytes_per_second=path.bytes_per_second * draw.uniform(1, 10))
    sooner = replace(path, latency_seconds=path.latency_seconds / draw.uniform(1, 10))
    now = seconds(model, sharding, step, rates, path)
    assert seconds(model, sharding, step, rates, wider) <= now
    assert seconds(model, sharding, step, rates, sooner) <= now


@drawn(60)
def test_parts_add_up_and_each_is_the_work_over_its_rate(draw: random.Random) -> None:
    model, rates, step = a_model(draw), some_rates(draw), a_step(draw)
    stage = work.stage_work(model, Sharding(), 0, step, Options())
    made = timing.stage_timing(stage, rates, {})
    assert made.seconds == pytest.approx(sum(made.by_limit().values()))
    for part in made.parts:
        if part.name == "weights" and part.limit == "memory bandwidth":
            assert part.seconds == pytest.approx(part.bytes / rates.memory_bytes_per_second)
        if part.name == "attention" and part.limit == "compute":
            assert part.seconds == pytest.approx(part.flops / rates.attention_flops_per_second)


@drawn(60)
def test_decoding_reads_every_dense_weight_once(draw: random.Random) -> None:
    """Bytes of the step against bytes of the tensors, counted two ways."""
    model = a_model(draw)
    stage = work.stage_work(model, Sharding(), 0, Step(1, 100), Options())
    moved = sum(entry.bytes for entry in stage.work if entry.kind == "weights")
    stored = sum(
        tensors.stored_bytes(tensor, model)
        for index in range(len(model.layers))
        for tensor in tensors.layer_tensors(model, index)
        if tensor.role != "experts"
    )
    assert moved == pytest.approx(stored)


@drawn(60)
def test_shards_hold_at_least_the_whole(draw: random.Random) -> None:
    """Replicated heads, norms and padding only ever add; nothing gets lost between the ranks."""
    model = a_model(draw)
    sharding = a_sharding(draw, model)
    whole = memory.stage_weights(model, Sharding(), 0)
    cut = sum(memory.stage_weights(model, sharding, stage) for stage in range(sharding.pipeline)) * sharding.tensor
    assert whole * 0.999999 <= cut <= whole * (1 + 0.5 * sharding.tensor)


def with_memory(cluster: Cluster, gigabytes: float) -> Cluster:
    return what_if.apply(cluster, f"memory={gigabytes}GiB", ACCELERATORS)


@drawn(25)
def test_what_fits_still_fits_with_more_memory(draw: random.Random) -> None:
    model, size = a_model(draw), draw.uniform(4, 60)
    work_load, options = Workload(256, 64, (1,)), Options(max_model_len=2048)
    small = plan.make(with_memory(V0_1, size), model, work_load, options)
    large = plan.make(with_memory(V0_1, size * draw.uniform(1, 4)), model, work_load, options)
    fits = {candidate.placement.name for candidate in large.candidates if candidate.fits}
    assert {candidate.placement.name for candidate in small.candidates if candidate.fits} <= fits
    for one, other in zip(small.candidates, large.candidates, strict=True):
        for less, more in zip(one.memory, other.memory, strict=True):
            assert more.kv_tokens >= less.kv_tokens
            assert less.short_bytes >= more.short_bytes


@drawn(25)
def test_twice_the_bandwidth_is_never_a_slower_plan(draw: random.Random) -> None:
    model = a_model(draw)
    work_load, options = Workload(256, 64, (1, 8)), Options(max_model_len=2048)
    cluster = with_memory(V0_1, 400)
    now = plan.make(cluster, model, work_load, options)
    for change in ("bandwidth=2x", "link=100Gb"):
        then = plan.make(what_if.apply(cluster, change, ACCELERATORS), model, work_load, options)
        for better, old in zip(then.candidates, now.candidates, strict=False):
            if better.placement.sharding != old.placement.sharding:
                break  # another number of links, so another list
            for new, was in zip(better.predictions, old.predictions, strict=True):
                assert new.itl_seconds.likely <= was.itl_seconds.likely
                assert new.tokens_per_second.likely >= was.tokens_per_second.likely


@drawn(60)
def test_an_interval_holds_its_likely_value(draw: random.Random) -> None:
    made = plan.make(with_memory(V0_1, 300), a_model(draw), Workload(128, 32, (1, 5)), Options(max_model_len=1024))
    for candidate in made.candidates:
        for entry in candidate.predictions:
            for interval in (entry.ttft_seconds, entry.itl_seconds, entry.tokens_per_second):
                assert 0 < interval.low <= interval.likely <= interval.high
            assert 0 < entry.limit_share <= 1


@drawn(60)
def test_experts_are_visited_between_one_token_s_and_all(draw: random.Random) -> None:
    count = draw.choice([8, 64, 256])
    active = draw.randint(1, count)
    last = 0.0
    for tokens in (1, 2, 8, 64, 10_000):
        distinct = work.distinct_experts(count, active, tokens)
        assert max(last, active) - 1e-9 <= distinct <= count
        last = distinct
    assert work.distinct_experts(count, active, 1) == pytest.approx(active)


def test_collectives_against_their_closed_forms() -> None:
    """Thakur et al. 2005: a ring of 4 with 1 ms latency and 1 MB/s, by hand."""
    path = Path("any", "network", 1e-3, 1e6)
    assert collectives.ring_all_reduce(4e6, 4, path) == pytest.approx(6 * (1e-3 + 1.0))
    assert collectives.tree_all_reduce(1.0, 4, path) == pytest.approx(4e-3 + 2e-6)
    assert collectives.all_gather(4e6, 4, path) == pytest.approx(3 * (1e-3 + 1.0))
    assert collectives.all_reduce(1.0, 2, path) <= collectives.ring_all_reduce(1.0, 2, path)
    assert collectives.seconds("all_reduce", 1e6, 1, path) == 0.0


def test_a_measured_curve_is_met_at_its_points_and_never_falls() -> None:
    curve = Curve("all_reduce", 2, "lan", (1024, 4096, 65536), (5e-5, 4e-5, 2e-4))
    assert curve.at(65536) == pytest.approx(2e-4)
    times = [curve.at(size) for size in (1, 1024, 2000, 4096, 10_000, 65_536, 10**6)]
    assert times == sorted(times)
    path = Path("lan", "network", 1.0, 1.0)
    assert collectives.seconds("all_reduce", 65536, 2, path, (curve,)) == pytest.approx(2e-4)
    assert collectives.seconds("all_reduce", 65536, 4, path, (curve,)) > 1.0, "another number of ranks is another curve"


def test_chunks_of_a_prompt_overlap_in_a_pipeline() -> None:
    assert timing.overlapped([2.0, 2.0], 1) == 1.0, "one chunk has nothing to overlap with"
    assert timing.overlapped([2.0, 2.0], 2) == pytest.approx(3 / 4)
    assert timing.overlapped([3.0, 1.0], 1000) == pytest.approx(3 / 4, rel=1e-3), "the slowest stage is what remains"
    assert timing.overlapped([2.0], 4) == 1.0, "one stage has nobody to hand on to"
    assert timing.overlapped([0.0, 0.0], 4) == 1.0


def test_a_calibration_survives_its_file() -> None:
    made = Calibration(
        hardware="card",
        engine="vllm 1",
        memory_bytes=16.0 * GIB,
        memory_bytes_per_second=250.0 * GIGA,
        flops_per_second=(("bfloat16", 4e13),),
        few_rows_flops_per_second=(("float32", 5e10),),
        kernel_seconds=0.0,
        curves=(Curve("all_reduce", 2, "lan", (1, 2), (1e-5, 2e-5)),),
        outcomes=(Outcome("a point", 1.0, 1.1), Outcome("another", 2.0, 1.0, fitted=True)),
    )
    assert calibration.from_json(calibration.to_json(made), "file") == made
    assert made.ratios() == pytest.approx((1.1,))


def test_a_link_s_bits_become_bytes_once() -> None:
    """2.5 Gb/s carry at most 312.5 MB/s: a gather of 312.5 MB from one other takes at least half a second."""
    hardware = hardware_of(replace(V0_1, links=(Link("ethernet", ("compute0", "compute1"), Figure(2.5e9, "test")),)))
    best = link_path(hardware.links[0], "best")
    assert best.bytes_per_second <= 312.5e6
    assert collectives.all_gather(312.5e6, 2, best) >= 0.5
