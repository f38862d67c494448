"""One engine over two Ray nodes on one machine, a GPU each: started, asked beside bare vLLM, and its ranks ended.

    python -m benchmarks.h200.span --results FILE.json [--parts speeds faults] [--seconds 530]

Needs two GPUs and what benchmarks.h200.gateway needs. `speeds`: a model by pipeline and a shape with random weights by
tensor, NCCL over sockets and over the cards' own link, beside bare vLLM with the same two ranks and beside one GPU.
`faults`: a rank of the engine by pipeline is killed or stopped while it is asked (span_faults.py). What does not begin
within `--seconds` is a miss. Exit 0: all of it measured. 1: some is missing. 2: could not measure.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.gateway import bare_environment, declared_engine
from benchmarks.h200 import first_answer, nccl, one_machine, span_faults, span_prediction, span_report
from benchmarks.h200.gateway import card, made, record_golden, versions
from benchmarks.smoke import add_argument, report_kept
from deploys import runtime_lock
from deploys.settings import Settings
from experiments import servers
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.tool import LoadTool, Work
from experiments.report import results
from experiments.report.progress import show
from hardware.model import GIB
from inventories.composition.compose import Serving

MODEL, SHAPE = "smollm2-135m-instruct", "llama-3.1-8b"
BARE_ADDRESS, BARE_PORT = "127.0.0.70", 18110
LOADS = ((1, 12), (16, 96))  # at once, requests
INPUT_TOKENS, OUTPUT_TOKENS = 128, 64
_ASKED = (tuple(number for number, _ in LOADS), INPUT_TOKENS, OUTPUT_TOKENS)
# Ranks of one machine find the cards' own link, unless they take each other for other hosts, or are told not to.
_SAME_INTERFACE = {"NCCL_SOCKET_IFNAME": "=lo", "GLOO_SOCKET_IFNAME": "lo"}
_NO_LINK = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
# NCCL carries what the ranks say: nothing of vLLM's own, and nothing that uses multicast between the cards.
_ONLY_NCCL = {"VLLM_ALLREDUCE_USE_SYMM_MEM": "0", "VLLM_ALLREDUCE_USE_FLASHINFER": "0"}


@dataclass(frozen=True)
class Case:
    """How an engine is cut over the two nodes, and what NCCL has between them. Without a shape: the model itself."""

    name: str
    span_by: Literal["pipeline", "tensor"]
    link: Literal["sockets", "fast"]
    shape: str = ""


PIPELINE = Case("pipeline-sockets", "pipeline", "sockets")
CASES = (PIPELINE, Case("tensor-fast", "tensor", "fast", SHAPE), Case("tensor-sockets", "tensor", "sockets", SHAPE))


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen parts; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return smoke(options)
    said = {key: value for key, value in vars(options).items() if key not in ("results", "logs")}
    result = results.begun("span-h200", options=said, starts={}, nccl={}, speeds={}, faults=[])
    result["predicted"] = span_prediction.predicted(MODEL, SHAPE, *_ASKED)
    options.begun = time.monotonic()
    options.logs.mkdir(parents=True, exist_ok=True)
    try:
        result["versions"] = versions(nodes(PIPELINE, options)[0])
        if "speeds" in options.parts:
            speeds(options, result)
        if "faults" in options.parts:
            faults(options, result)
    except ExperimentError as error:
        result["misses"].append(str(error))
    _keep(options, result)
    print(span_report.report(result))
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h200.span", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="JSON to write; the Markdown goes beside it")
    parser.add_argument("--parts", nargs="+", choices=["speeds", "faults"], default=["speeds", "faults"])
    parser.add_argument("--faults", nargs="+", choices=[*span_faults.FAULTS], default=[*span_faults.FAULTS])
    parser.add_argument("--seconds", type=float, default=530.0, help="nothing begins after them")
    parser.add_argument("--kv-gib", type=float, default=4.0, help="key-value cache of each rank")
    parser.add_argument("--logs", type=Path, default=Path("/tmp/span-nccl"), help="where NCCL writes")  # noqa: S108
    parser.add_argument("--runtime-kind", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script out")
    add_argument(parser)
    return parser


def nodes(case: Case, options: argparse.Namespace) -> tuple[Settings, ...]:
    """Head and two workers, a card each."""
    engine: dict[str, Any] = {
        "kv_cache_memory_bytes": int(options.kv_gib * GIB),
        "max_num_seqs": 64,
        "gpu_memory_utilization": 0.25,  # what it wants to find free when it starts
        "disable_custom_all_reduce": True,
        "compilation_config": {
            "cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64],
            "pass_config": {"fuse_allreduce_rms": False},
        },
    }
    model = MODEL
    if case.shape:
        model, engine = str(made(case.shape, MODEL)), {**engine, "load_format": "dummy"}
    cpu = options.runtime_kind == "cpu"
    serving = Serving(
        model=model,
        mode="span",
        span_by=case.span_by,
        dtype="float32" if cpu else "bfloat16",
        enforce_eager=cpu,
        engine=engine,
        check_fit=False,
    )
    environments = [
        {
            "CUDA_VISIBLE_DEVICES": str(number),
            **_SAME_INTERFACE,
            **_ONLY_NCCL,
            **nccl.logging_to(options.logs, f"{case.name}-cluster"),
            **({"NCCL_HOSTID": f"node{number}"} if case.link == "sockets" else {}),
        }
        for number in range(2)
    ]
    return one_machine.settings_of(card(), serving, options.runtime_kind, environments)


def speeds(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Every case alone: started, asked, stopped. What fails is a miss, and the next goes on."""
    by_case = {case: nodes(case, options) for case in CASES}
    with load_tool.tool(Path(runtime_lock.directory(by_case[PIPELINE][0]))) as tool:
        for case, there in by_case.items():
            if case.shape:
                source = Path(str(there[0].model.source["path"]))
                shutil.copytree(source, there[0].model.directory, dirs_exist_ok=True)
        tensor = [case for case in CASES if case.shape]
        _step(options, result, f"{PIPELINE.name}, bare", lambda: _bare(tool, options, result, {PIPELINE: 2}, by_case))
        _step(options, result, f"{PIPELINE.name}, cluster", lambda: _spanned(tool, result, PIPELINE, by_case, options))
        # Together: a start of an 8B shape takes a minute, and the lane that works has the cards to itself.
        lanes = {**dict.fromkeys(tensor, 2), Case("one-gpu", "tensor", "fast", SHAPE): 1}
        _step(options, result, "tensor, bare", lambda: _bare(tool, options, result, lanes, by_case))
        for case in tensor:
            _step(
                options,
                result,
                f"{case.name}, cluster",
                lambda case=case: _spanned(tool, result, case, by_case, options),
            )


def _step(options: argparse.Namespace, result: dict[str, Any], name: str, what: Any) -> None:
    after = time.monotonic() - options.begun
    if after > options.seconds:
        result["misses"].append(f"{name}: not begun, {after:.0f} s had passed")
        return
    show("begin", f"{name}, {after:.0f} s")
    try:
        what()
    except ExperimentError as error:
        result["misses"].append(f"{name}: {error}")
        show("miss", f"{name}: {error}")
    _keep(options, result)


def _keep(options: argparse.Namespace, result: dict[str, Any]) -> None:
    results.write(options.results, result, span_report.report(result))


def _bare(
    tool: LoadTool,
    options: argparse.Namespace,
    result: dict[str, Any],
    lanes: Mapping[Case, int],
    by_case: Mapping[Case, tuple[Settings, ...]],
) -> None:
    """Bare vLLM with so many ranks for each case, started at one time, asked one after the other."""

    @contextlib.contextmanager
    def one(number: int, case: Case, ranks: int) -> Iterator[tuple[str, float]]:
        worker = by_case.get(case, by_case[CASES[-1]])[1]
        engine = declared_engine(worker)
        if ranks == 1:
            engine |= {"tensor_parallel_size": 1, "pipeline_parallel_size": 1}
        variables = {
            **bare_environment(worker),
            "CUDA_VISIBLE_DEVICES": "0,1" if ranks > 1 else "0",
            **_SAME_INTERFACE,
            **nccl.logging_to(options.logs, f"{case.name}-bare"),
            **(_NO_LINK if case.link == "sockets" else {}),
        }
        place = (BARE_ADDRESS, BARE_PORT + number)
        with first_answer.bare(worker, servers.engine_flags(engine), variables, place) as (server, seconds):
            yield server.url, seconds

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(lanes)) as pool:
        begun = [
            (case, ranks, pool.submit(stack.enter_context, one(number, case, ranks)))
            for number, (case, ranks) in enumerate(lanes.items())
        ]
        for case, ranks, started in begun:
            name = case.name if ranks == 1 else f"{case.name}, bare"
            url, seconds = started.result()
            worker = by_case.get(case, by_case[CASES[-1]])[1]
            result["starts"][name] = {"right answer": seconds, "beside": len(lanes) - 1}
            if case.shape and ranks > 1 and not (Path(worker.model.directory) / "golden.json").exists():
                record_golden(url, worker.model.name, Path(worker.model.directory))
            result["speeds"][name] = _asked(tool, worker, url)
            if ranks > 1:
                result["nccl"][name] = nccl.words(options.logs, f"{case.name}-bare")


def _spanned(
    tool: LoadTool,
    result: dict[str, Any],
    case: Case,
    by_case: Mapping[Case, tuple[Settings, ...]],
    options: argparse.Namespace,
) -> None:
    there, name = by_case[case], f"{case.name}, cluster"
    try:
        with first_answer.cluster(there) as (_, seen):
            result["starts"][name] = seen
            result["speeds"][name] = _asked(tool, there[0], there[0].endpoint.removesuffix("/v1"))
    finally:
        result["nccl"][name] = nccl.words(options.logs, f"{case.name}-cluster")


def _asked(tool: LoadTool, node: Settings, url: str) -> dict[str, Any]:
    """Times to first token and between tokens, by how many are asked at once."""
    found = {}
    for concurrent, requests in LOADS:
        work = Work(
            model=node.model.name,
            tokenizer=node.model.directory,
            requests=requests,
            concurrent=concurrent,
            input_tokens=INPUT_TOKENS,
            output_tokens=OUTPUT_TOKENS,
            output_range=0.0,
            seed=concurrent,
        )
        found[str(concurrent)] = load_tool.figures([tool.run(work, url, 120.0)])
    return found


def faults(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Ranks of the engine by pipeline end while it is asked."""
    there = nodes(PIPELINE, options)
    with first_answer.cluster(there) as (_, seen):
        result["starts"]["before the faults"] = seen
        for fault in options.faults:
            if time.monotonic() - options.begun > options.seconds:
                result["misses"].append(f"{fault}: not done, {options.seconds:g} s had passed")
                continue
            found = span_faults.done(there, fault, options.seconds + 40 - (time.monotonic() - options.begun))
            result["faults"].append(found)
            result["misses"] += span_faults.misses(found)
            _keep(options, result)
            if found["recovered"] is None:
                break


def smoke(options: argparse.Namespace) -> int:
    """Head and workers are composed, and the engine's flags; nothing is started. Kept results are reported."""
    there = nodes(PIPELINE, options)
    print(f"{', '.join(node.node for node in there)}: {' '.join(servers.engine_flags(declared_engine(there[1])))}")
    return report_kept("span-h200", span_report.report)


if __name__ == "__main__":
    sys.exit(main())
