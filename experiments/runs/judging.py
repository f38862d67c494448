"""What is made of a bundle when its run has measured: figures, verdict, report. The bundle alone is read.

What cannot be made is noted and left out: a report without a section is better than none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from experiments.bundle import layout, manifest, writing
from experiments.bundle.errors import BundleError
from experiments.configuration.parameters import Parameters
from experiments.errors import ExperimentError
from experiments.load import figures, objectives, records, vllm_bench
from experiments.report import html
from experiments.runs import deriving, ground, steps
from experiments.runs.order import Order
from experiments.runs.sitting import Sitting
from experiments.verdict.bundle import judge_bundle
from operate.clusters import ClusterInventory
from operate.progress import Progress


def judge(order: Order, cluster: ClusterInventory, bundle: Path, sitting: Sitting) -> None:
    """Figures by step, whether they can be trusted, and what follows from telemetry."""
    if (bundle / layout.REQUESTS).exists():
        _judge_load(order, bundle, sitting)
        with noted(sitting, "ledger"):
            for said in deriving.write_ledger(bundle, cluster.control.name):
                sitting.note(said)
    else:
        sitting.note("no load was sent: there are no figures and no verdict")
    with noted(sitting, "recovery budget"):
        for one in deriving.write_recovery(bundle, order.resolved.parameters):
            if not one.adds_up:
                sitting.note(f"the recovery of {one.node} from {one.fault} does not add up")
    with noted(sitting, "causes"):
        sitting.note(deriving.write_causes(bundle))


def _judge_load(order: Order, bundle: Path, sitting: Sitting) -> None:
    write_figures(order, bundle)
    with noted(sitting, "verdict"):
        told = order.resolved.parameters
        workers = {f"workers={number}": number for number in told.llm_benchmark_concurrent_workers}
        listed = steps.steps(order.resolved, replayed=_trace(bundle))
        concurrent = {step.name: workers[kind] for step in listed if (kind := steps.kind(step.name)) in workers}
        judged = judge_bundle(bundle, concurrent=concurrent)
        writing.write_json(bundle, layout.VERDICT, judged)
        sitting.journal.add("verdict", verdict=judged.word, causes=[cause.name for cause in judged.causes])


def write_figures(order: Order, bundle: Path) -> None:
    """results/summary.json, and each step in the shape of `vllm bench serve`."""
    wanted = wishes(order.resolved.parameters)
    found = records.read(bundle / layout.REQUESTS)
    writing.write_json(bundle, layout.SUMMARY, figures.summary(found, wanted))
    listed = {step.name: step for step in steps.steps(order.resolved, replayed=_trace(bundle))}
    for name in dict.fromkeys(record.step for record in found):
        own = [record for record in found if record.step == name]
        step = listed[name]
        shaped = vllm_bench.as_vllm_bench(
            own,
            model=str(order.resolved.parameters.model_id),
            date=f"{datetime.fromtimestamp(own[0].sent, UTC):%Y%m%d-%H%M%S}",
            arrivals=step.arrivals,
            concurrent=step.concurrent,
            objectives=wanted,
        )
        writing.write_json(bundle, bench_file(name, len(listed)), shaped)


def bench_file(step: str, number: int) -> str:
    """Name of a step's file in vLLM's shape, which has one step a file: the plain one where there is only one."""
    plain = Path(layout.VLLM_BENCH)
    if number == 1:
        return layout.VLLM_BENCH
    return str(plain.with_name(f"{plain.stem}-{step.replace(' #', '-')}{plain.suffix}"))


def wishes(parameters: Parameters) -> dict[str, float]:
    """Service level objectives, in the load's words: milliseconds by AIPerf's names."""
    named = {
        objectives.TTFT: parameters.llm_benchmark_slo_ttft_ms,
        objectives.TPOT: parameters.llm_benchmark_slo_itl_ms,
        objectives.LATENCY: parameters.llm_benchmark_slo_e2el_ms,
    }
    return {name: limit for name, limit in named.items() if limit is not None}


def report(bundle: Path, progress: Progress) -> None:
    """The one file that opens offline, made when the bundle is whole; its manifest takes it in.

    Whatever it fails over is a note: `cluster experiment report` makes it again.
    """
    progress.phase("writing the report")
    try:
        html.write(bundle)
    except ExperimentError as error:
        progress.note(f"no report: {error}")
    manifest.renew(bundle, [layout.REPORT])


@contextlib.contextmanager
def noted(sitting: Sitting, what: str) -> Iterator[None]:
    """A part that cannot be made of this bundle is a note, not the end of the run; a full disk is."""
    try:
        yield
    except BundleError:
        raise
    except ExperimentError as error:
        sitting.note(f"no {what}: {error}")


def _trace(bundle: Path) -> Path | None:
    path = bundle / ground.TRACE_FILE
    return path if path.exists() else None
