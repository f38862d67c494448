"""`vllm bench serve` of the locked runtime as the referee of our generator: the same figures of the same engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from experiments import servers
from experiments.load import event_loop, generator
from experiments.load import tool as load_tool
from experiments.load.arrivals import Constant
from experiments.load.client import Endpoint
from experiments.load.lengths import fixed
from experiments.load.prompts import Synthetic
from experiments.load.records import RequestRecord
from experiments.load.referees import Ours, VllmBench, Work, of_vllm_bench
from experiments.load.steps import Step
from experiments.load.vllm_bench import as_vllm_bench
from experiments.report.load_accuracy import figures

ADDRESS = "127.0.0.74"
WORK = Work(rate=10, seconds=4, output_tokens=8)


def test_both_measure_the_same_and_say_it_in_one_shape(python: str, tiny_models: Path) -> None:
    tokenizer = str(tiny_models / "chat")
    with (
        servers.stub(ADDRESS, servers.free_port(ADDRESS), 100.0, 20.0) as stub,
        load_tool.tool(Path(python).parents[1]) as tool,
    ):
        referee = VllmBench(tool, tokenizer)
        referee.measure(stub.url, Work(10, 0.3, 2))  # its first request pays for what is loaded then
        theirs: dict[str, Any] = referee.result(stub.url, WORK)
        records: list[RequestRecord] = []
        step = Step(
            "rate=10",
            Constant(WORK.rate),
            requests=WORK.requests,
            prompts=Synthetic(fixed(8)),
            output_lengths=fixed(WORK.output_tokens),
        )
        endpoint = Endpoint(f"{stub.url}/v1", "stub")
        event_loop.run(generator.run(endpoint, [step], write=records.append, stop=asyncio.Event()))
    ours = as_vllm_bench(records, model="stub", date=theirs["date"], arrivals=step.arrivals)
    # What the tool adds of speculative decoding and the like is not there for this engine either.
    assert set(theirs) <= set(ours), set(theirs) - set(ours)
    for name, value in theirs.items():
        if isinstance(value, list):
            assert len(ours[name]) == len(value), name
    for name in ("completed", "failed", "total_output_tokens", "num_prompts"):
        assert ours[name] == theirs[name], name
    # Counted in whole seconds from the first request, so that one more or less falls into a second.
    assert ours["max_concurrent_requests"] == pytest.approx(theirs["max_concurrent_requests"], abs=3)
    assert ours["median_ttft_ms"] == pytest.approx(theirs["median_ttft_ms"], abs=15)
    assert ours["median_itl_ms"] == pytest.approx(theirs["median_itl_ms"], abs=5)
    mine, its = (figures(WORK, of_vllm_bench(shaped), 100.0, 20.0, {}) for shaped in (ours, theirs))
    # The engine is never early; the nearer to what it was told, the righter.
    assert 0 <= mine["ttft_error_ms"] <= its["ttft_error_ms"] + 1
    assert abs(mine["rate_error"]) < 0.01


def test_our_own_way_to_measure_agrees_with_the_records() -> None:
    with servers.stub(ADDRESS, servers.free_port(ADDRESS), 30.0, 5.0) as stub:
        found = Ours().measure(stub.url, Work(rate=20, seconds=1, output_tokens=3))
    assert (found.requests, found.failed, len(found.first_tokens), len(found.between_tokens)) == (20, 0, 20, 40)
    assert min(found.first_tokens) >= 0.0299
