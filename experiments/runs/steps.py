"""The load steps of an experiment: its parameters in the generator's words. Pure, but for a trace's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.answers import Question
from experiments.configuration.parameters import Parameters
from experiments.configuration.resolving import Resolved
from experiments.load import arrivals, lengths, trace
from experiments.load.prompts import Synthetic
from experiments.load.steps import Step

CLOSED, TRACE = "closed", "trace"


def steps(resolved: Resolved, golden: Question | None = None, replayed: Path | None = None) -> list[Step]:
    """Every step in its order, iteration after iteration; ExperimentError for what cannot be.

    `golden` is asked now and then where the experiment wants answers judged. `replayed`: the trace's file.
    """
    parameters = resolved.parameters
    once = _once(parameters, golden, replayed)
    iterations = parameters.llm_benchmark_iterations
    return [
        replace(step, name=_name(step.name, iteration, iterations), seed=step.seed + iteration)
        for iteration in range(iterations)
        for step in once
    ]


def kind(name: str) -> str:
    """The step of which a name is one iteration: `rate=4` of `rate=4 #2`."""
    return name.partition(" #")[0]


def _name(name: str, iteration: int, iterations: int) -> str:
    return name if iterations == 1 else f"{name} #{iteration + 1}"


def _once(parameters: Parameters, golden: Question | None, replayed: Path | None) -> list[Step]:
    common = Step(
        name="",
        duration_seconds=parameters.llm_benchmark_duration,
        requests=parameters.llm_benchmark_requests or 0,
        prompts=_prompts(parameters, golden),
        output_lengths=lengths.parse(parameters.llm_benchmark_output_tokens),
        warm_up_seconds=parameters.llm_benchmark_warm_up,
        seed=parameters.llm_benchmark_seed,
        deadline_seconds=parameters.llm_benchmark_timeout,
    )
    how = parameters.llm_benchmark_arrivals
    if how == CLOSED:
        return [
            replace(common, name=f"workers={workers}", concurrent=workers)
            for workers in parameters.llm_benchmark_concurrent_workers
        ]
    if how == TRACE:
        if replayed is None:
            return []
        read = trace.read(
            replayed,
            seconds_a_unit=parameters.llm_benchmark_trace_unit_seconds,
            block_tokens=parameters.llm_benchmark_trace_block_tokens,
        )
        # It ends by itself, and its first request counts like its last.
        ends = replace(common, name=TRACE, duration_seconds=0.0, warm_up_seconds=0.0)
        return [replace(ends, arrivals=read.arrivals(), prompts=read)]
    burstiness = (parameters.llm_benchmark_burstiness or 0.0) if how == arrivals.BURSTS else 0.0
    return [
        replace(common, name=f"rate={rate:g}", arrivals=arrivals.named(how, rate, burstiness))
        for rate in parameters.llm_benchmark_target_qps_values
    ]


def _prompts(parameters: Parameters, golden: Question | None) -> Synthetic:
    every = parameters.llm_benchmark_checked_every
    return Synthetic(
        lengths.parse(parameters.llm_benchmark_prompt_tokens),
        turns=lengths.parse(parameters.llm_benchmark_turns),
        groups=parameters.llm_benchmark_prefix_groups,
        prefix_tokens=parameters.llm_benchmark_prefix_tokens,
        golden=golden if every else None,
        golden_every=max(every, 1),
    )
