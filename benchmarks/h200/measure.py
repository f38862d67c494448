"""Runs the measurements of this folder on a machine with H200 GPUs, several at a time on GPUs of their own.

    python3 -m benchmarks.h200.measure --results results.jsonl --seconds 560

Each step is a process with a time limit; what fails is recorded and the next step starts. Every record is appended to
the results as it is made. Steps that a file named by --done lists are left out, so the same command goes on where the
last one was stopped. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.h200 import shapes
from benchmarks.h200.engine import OUT_OF_TIME, emit

LENGTH = 20480
BATCHED_TOKENS = 8192
# NCCL without peer access and shared memory: what is left is TCP on loopback.
SOCKETS = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1", "NCCL_NET": "Socket", "NCCL_SOCKET_IFNAME": "=lo"}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",  # the function that reads a worker's memory profile
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_USE_DEEP_GEMM": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "4",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
}


@dataclass(frozen=True)
class Task:
    """A process on `gpus` GPUs that is stopped after `limit_seconds`."""

    name: str
    gpus: int
    limit_seconds: float
    module: str
    argument: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)


def engine_task(
    shape: str, tensor: int, *, pipeline: int = 1, expert: bool = False, sockets: bool = False, limit: float = 200
) -> Task:
    """An engine with all its points."""
    ranks = tensor * pipeline
    name = f"{shape} TP {tensor}" + f" PP {pipeline}" * (pipeline > 1) + " EP" * expert + " sockets" * sockets
    engine: dict[str, Any] = {
        "tensor_parallel_size": tensor,
        "pipeline_parallel_size": pipeline,
        "max_model_len": LENGTH,
        "max_num_seqs": 256,
        "max_num_batched_tokens": BATCHED_TOKENS,
        "gpu_memory_utilization": 0.9,
        "dtype": "bfloat16",
    }
    if expert:
        engine["enable_expert_parallel"] = True
    return Task(
        name,
        ranks,
        limit,
        "benchmarks.h200.engine",
        {
            "name": name,
            "shape": shape,
            "config": shapes.SHAPES[shape],
            "engine": engine,
            # Not the planner's business: without peer access vLLM's own all-reduce has nothing to work with.
            "extra": {"disable_custom_all_reduce": True} if sockets else {},
            "path": "sockets" if sockets else "peer",
            "seconds": limit * 0.8,
        },
        dict(SOCKETS) if sockets else {},
    )


def micro_task(what: str, ranks: int = 1, path: str = "peer") -> Task:
    """Microbenchmarks of one GPU, or collectives of several."""
    name = "device" if what == "device" else f"collectives of {ranks} over {path}"
    argument = {"name": name, "what": what, "ranks": ranks, "path": path}
    return Task(name, ranks, 120, "benchmarks.h200.micro", argument, dict(SOCKETS) if path == "sockets" else {})


def tasks(gpus: int) -> list[Task]:
    """All of it in the order of its worth: calibration first, then one of each kind, then the rest.

    Tasks that want all GPUs stand together, because GPUs are idle while they wait for the others.
    """
    mla, moe = "deepseek-v2-lite", "qwen3-30b-a3b"
    wanted = [
        micro_task("collectives", 4),
        engine_task("llama-3.1-8b", 1),
        engine_task("llama-3.1-8b, 4 layers", 1),
        engine_task(moe, 1),
        micro_task("device"),
        engine_task("qwen2.5-14b", 1),
        engine_task(mla, 1),
        engine_task("mistral-small-2409", 1),
        engine_task("qwen2.5-1.5b", 1),
        micro_task("collectives", 2),
        micro_task("collectives", 2, "sockets"),
        engine_task("llama-3.1-8b", 2),
        engine_task("qwen2.5-14b", 2),
        engine_task(moe, 2),
        engine_task("llama-3.1-8b", 2, sockets=True),
        engine_task("mistral-small-2409", 2),
        engine_task(moe, 2, expert=True),
        engine_task("qwen2.5-14b", 2, sockets=True),
        micro_task("collectives", 4, "sockets"),
        engine_task("qwen2.5-14b", 4),
        engine_task(moe, 4),
        engine_task("qwen2.5-14b", 4, sockets=True),
        engine_task(mla, 2),
        engine_task("qwen2.5-14b", 1, pipeline=2),
        engine_task(moe, 2, sockets=True),
        engine_task("mistral-small-2409", 4),
        engine_task("llama-3.1-8b", 4),
    ]
    return [task for task in wanted if task.gpus <= gpus]


class Slots:
    """GPUs that are free. A pair is taken aligned (0 and 1, 2 and 3)."""

    def __init__(self, gpus: int) -> None:
        self.free = set(range(gpus))

    def take(self, count: int) -> list[int] | None:
        """GPUs for a task, None when there are not enough side by side."""
        for first in range(0, max(self.free, default=-1) + 1, count):
            wanted = list(range(first, first + count))
            if set(wanted) <= self.free:
                self.free -= set(wanted)
                return wanted
        return None


def machine(gpus: int) -> dict[str, Any]:
    """Where and with what this was measured."""
    asked = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()
        cards = said.splitlines()
        return {**_software(), "gpus": gpus, "cards": cards}
    return {**_software(), "gpus": gpus, "cards": []}


def _software() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for name in ("vllm", "torch", "triton", "transformers", "nvidia-nccl-cu13", "flashinfer-python", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "kind": "machine",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions,
        "environment": ENVIRONMENT,
        "sockets": SOCKETS,
    }


@dataclass
class Running:
    """A task that was started."""

    task: Task
    gpus: list[int]
    process: subprocess.Popen[bytes]
    ends: float
    cut: bool


def start(task: Task, gpus: list[int], folder: Path, log: Any, limit: float) -> Running:
    """Start a task on its GPUs, in a session of its own so that all of it can be stopped."""
    argument = dict(task.argument)
    if "shape" in argument:
        argument["directory"] = str(shapes.write(argument["shape"], folder / "models"))
        argument["seconds"] = min(argument["seconds"], limit * 0.8)
    environment = {
        **os.environ,
        **ENVIRONMENT,
        **task.environment,
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", task.module, json.dumps(argument)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    return Running(task, gpus, process, time.monotonic() + min(task.limit_seconds, limit), limit < task.limit_seconds)


def stop(running: Running) -> None:
    """End a task and everything it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(timeout=5)
            return


def run(wanted: list[Task], gpus: int, seconds: float, folder: Path, done: set[str], dry: bool) -> int:
    """Run tasks until they are done or the time is; returns how many did not end well."""
    begun, slots = time.monotonic(), Slots(gpus)
    waiting = [task for task in wanted if task.name not in done]
    active: list[Running] = []
    bad = 0
    if dry:
        for task in waiting:
            print(f"{task.gpus} GPU, {task.limit_seconds:.0f} s: {task.name}")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log, (folder / "done.txt").open("a") as marks:
        while waiting or active:
            left = seconds - (time.monotonic() - begun)
            for task in list(waiting):
                # An engine needs about a minute to start: one that could measure nothing is not begun.
                if left < min(100.0, task.limit_seconds * 0.75):
                    continue
                taken = slots.take(task.gpus)
                if taken is None:
                    if task.gpus > 2:
                        break  # hold GPUs back for it, or the wide ones would never get their turn
                    continue
                waiting.remove(task)
                print(f"{time.monotonic() - begun:6.0f} s  start {task.name} on {taken}", flush=True)
                active.append(start(task, taken, folder, log, left))
            if not active:
                break
            for running in list(active):
                late = time.monotonic() > running.ends
                if running.process.poll() is None and not late:
                    continue
                if late:
                    stop(running)
                status = running.process.returncode
                active.remove(running)
                slots.free |= set(running.gpus)
                well = status == 0 and not late
                print(
                    f"{time.monotonic() - begun:6.0f} s  {'end' if well else 'FAILED'} {running.task.name}", flush=True
                )
                if not well:
                    bad += 1
                    why = "stopped at its time limit" if late else f"exit status {status}, see the log"
                    emit({"kind": "failure", "step": running.task.name, "what": "the whole step", "error": why})
                short = running.cut and (late or status == OUT_OF_TIME)
                if not short:  # what the end of the time cut short is for the next call
                    marks.write(running.task.name + "\n")
                    marks.flush()
            time.sleep(0.2)
    for task in waiting:
        print(f"not begun: {task.name}")
    return bad


def main() -> int:
    """0: all that was begun ended well. 1: something failed; it is in the results. 2: bad usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="file to append records to")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/h200"), help="caches, logs, what is done")  # noqa: S108
    parser.add_argument("--seconds", type=float, default=560, help="time for all steps")
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--only", default="", help="run only tasks whose name has this in it")
    parser.add_argument("--again", action="store_true", help="also what an earlier call has done")
    parser.add_argument("--dry-run", action="store_true", help="list the tasks")
    options = parser.parse_args()
    if options.gpus not in (1, 2, 4, 8):
        parser.error(f"--gpus is {options.gpus}; it has to be 1, 2, 4 or 8")
    os.environ["RESULTS"] = str(options.results.resolve())
    marks = options.folder / "done.txt"
    done = set(marks.read_text().splitlines()) if marks.is_file() and not options.again else set()
    wanted = [task for task in tasks(options.gpus) if options.only in task.name]
    if not wanted:
        parser.error(f"--only {options.only!r} is in no task's name; --dry-run lists them")
    if not options.dry_run:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        emit(machine(options.gpus))
    return 1 if run(wanted, options.gpus, options.seconds, options.folder, done, options.dry_run) else 0


if __name__ == "__main__":
    sys.exit(main())
