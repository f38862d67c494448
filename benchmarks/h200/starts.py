"""The start chain on a machine with a GPU: bare vLLM and the declared cluster, to the first right answer, in turns.

    python -m benchmarks.h200.starts --results FILE.json [--rounds 2]

Needs what benchmarks.h200.gateway needs. Each round starts both, alone, one after the other; rounds begin in turns.
Bare vLLM goes first and compiles for both, who have one cache: that one start is not compared. Exit 0: measured, the
target holds. 1: it does not. 2: could not measure.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gateway import bare_environment, declared_engine
from benchmarks.h200 import first_answer, one_machine
from benchmarks.h200.gateway import BARE_ADDRESS, BARE_PORT, card, versions
from benchmarks.smoke import add_argument, report_kept
from deploys.settings import Settings
from experiments import servers
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from experiments.report.markdown import shown
from experiments.report.progress import show
from hardware.model import GIB
from inventories.composition.compose import Serving

TARGET = 1.3
BARE, CLUSTER = "bare", "cluster"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return smoke(options)
    said = {key: value for key, value in vars(options).items() if key != "results"}
    result = results.begun("starts-h200", options=said, rounds=[])
    try:
        head, worker = one_machine.settings_of(card(), _serving(options), options.runtime_kind)
        result["versions"] = versions(head)
        for number in range(options.rounds):
            result["rounds"].append({})
            for kind in (BARE, CLUSTER) if number % 2 == 0 else (CLUSTER, BARE):
                result["rounds"][-1][kind] = _start(kind, head, worker, options.seconds)
                show(kind, f"round {number + 1}: {result['rounds'][-1][kind]}")
            results.write(options.results, result, report(result))
    except ExperimentError as error:
        print(f"starts: {error}", file=sys.stderr)
        return 2
    found = ratio(result)
    if found is None or found > TARGET:
        result["misses"].append(f"a start takes {shown(found, 2)} times bare vLLM's; target {TARGET:g}")
    results.write(options.results, result, report(result))
    print(report(result))
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h200.starts", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="JSON to write; the Markdown goes beside it")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="of the catalogue")
    parser.add_argument("--rounds", type=int, default=2, help="starts of each; bare vLLM's first is not compared")
    parser.add_argument("--seconds", type=float, default=300.0, help="a start that takes longer ends the run")
    parser.add_argument("--kv-gib", type=float, default=8.0, help="key-value cache of each engine")
    parser.add_argument("--runtime-kind", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script out")
    add_argument(parser)
    return parser


def _serving(options: argparse.Namespace) -> Serving:
    engine = {"kv_cache_memory_bytes": int(options.kv_gib * GIB), "max_num_seqs": 64, "gpu_memory_utilization": 0.45}
    eager = options.runtime_kind == "cpu"
    return Serving(model=options.model, dtype="bfloat16", enforce_eager=eager, engine=engine, check_fit=False)


def _start(kind: str, head: Settings, worker: Settings, most: float) -> dict[str, float]:
    if kind == CLUSTER:
        with first_answer.cluster((head, worker), most) as (_, seen):
            return seen
    flags, variables = servers.engine_flags(declared_engine(worker)), bare_environment(worker)
    with first_answer.bare(worker, flags, variables, (BARE_ADDRESS, BARE_PORT), most) as (_, seconds):
        return {"right answer": seconds}


def ratio(result: Mapping[str, Any]) -> float | None:
    """Median of the cluster's starts over bare vLLM's but its first, which compiles; None without them. Pure."""
    seconds = {
        kind: [entry[kind]["right answer"] for entry in rounds if kind in entry]
        for kind, rounds in ((BARE, result["rounds"][1:]), (CLUSTER, result["rounds"]))
    }
    if not all(seconds.values()):
        return None
    return float(statistics.median(seconds[CLUSTER]) / statistics.median(seconds[BARE]))


def report(result: Mapping[str, Any]) -> str:
    """The results as Markdown. Pure."""
    rounds = result["rounds"]
    steps = list(dict.fromkeys(step for entry in rounds for step in entry.get(CLUSTER, {})))
    ordered = sorted(steps, key=lambda step: min(e[CLUSTER][step] for e in rounds if step in e.get(CLUSTER, {})))
    rows = [
        ["bare vLLM: right answer", *(shown(entry.get(BARE, {}).get("right answer"), 1) for entry in rounds)],
        *([f"cluster: {step}", *(shown(entry.get(CLUSTER, {}).get(step), 1) for entry in rounds)] for step in ordered),
    ]
    found = ratio(result)
    return "\n".join(
        [
            "# A start, to the first right answer\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"Model: {result['options']['model']}. Seconds from the start of the server's process, and of the "
            "cluster's first service; of the cluster's steps, when its first process was seen (of Ray's nodes: "
            "the last).\n",
            markdown.table(["s", *(f"round {number}" for number in range(1, len(rounds) + 1))], rows),
            "",
            f"Cluster beside bare, without bare vLLM's first start, which compiles for both: {shown(found, 2)}. "
            f"Target: {TARGET:g}.\n",
            markdown.listed_misses(result["misses"]),
        ]
    )


def smoke(options: argparse.Namespace) -> int:
    """The cluster is composed and its engine's flags are made, nothing is started; kept results are reported."""
    options.runtime_kind = "cpu"
    head, worker = one_machine.settings_of(card(), _serving(options), options.runtime_kind)
    print(f"{head.node}, {worker.node}: {' '.join(servers.engine_flags(declared_engine(worker)))}")
    return report_kept("starts-h200", report)


if __name__ == "__main__":
    sys.exit(main())
