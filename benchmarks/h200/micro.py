"""Microbenchmarks, started by measure.py in processes of their own: memory, matrices, experts, collectives.

Runs where PyTorch and vLLM are installed. Collectives go through vLLM's own dispatch, inside captured graphs where the
engine would have them there, so a curve is what the engine gets. Times are medians over several replays.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.h200.engine import emit

SIZES = tuple(4**power for power in range(5, 14))  # 1 KiB to 64 MiB
REPLAYS = 20


def timed(run: Callable[[], Any], repeats: int = 7) -> float:
    """Median seconds of `run` on the current device, after two that are not counted."""
    import torch

    times: list[float] = []
    for _ in range(repeats + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times[2:])


def repeated(run: Callable[[Any], Any], tensor: Any) -> None:
    """REPLAYS calls, one after another."""
    for _ in range(REPLAYS):
        run(tensor)


def guarded(name: str, run: Callable[[], None]) -> None:
    """A microbenchmark that fails is a record, not the end."""
    try:
        run()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:500]
        emit({"kind": "failure", "step": "microbenchmarks", "what": name, "error": said})


def memory() -> None:
    """Device copy (bytes read and written) and read only."""
    import torch

    source = torch.empty(2 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source))
    emit({"kind": "microbenchmark", "name": "memory copy", "bytes_per_second": 2 * source.numel() / seconds})
    words = source.view(torch.float32)
    seconds = timed(lambda: torch.amax(words))
    emit({"kind": "microbenchmark", "name": "memory read", "bytes_per_second": source.numel() / seconds})


def matrices() -> None:
    """Products by type, at a large size and at those of layers."""
    import torch

    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        for rows, columns, inner in ((8192, 8192, 8192), (2048, 28672, 4096), (512, 28672, 4096), (16, 28672, 4096)):
            if dtype == torch.float32 and rows != 2048:
                continue
            left = torch.randn(rows, inner, dtype=dtype, device="cuda")
            right = torch.randn(columns, inner, dtype=dtype, device="cuda")
            seconds = timed(partial(torch.nn.functional.linear, left, right))
            emit(
                {
                    "kind": "microbenchmark",
                    "name": "matrices",
                    "dtype": name,
                    "shape": [rows, columns, inner],
                    "seconds": seconds,
                    "flops_per_second": 2 * rows * columns * inner / seconds,
                    "bytes_per_second": 2 * (rows * inner + columns * inner + rows * columns) / seconds,
                }
            )
    left = torch.randn(8192, 8192, device="cuda").to(torch.float8_e4m3fn)
    right = torch.randn(8192, 8192, device="cuda").to(torch.float8_e4m3fn).t()
    one = torch.tensor(1.0, device="cuda")
    seconds = timed(lambda: torch._scaled_mm(left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16))
    flops = 2 * 8192**3 / seconds
    emit({"kind": "microbenchmark", "name": "matrices", "dtype": "fp8", "shape": [8192] * 3, "flops_per_second": flops})


def experts() -> None:
    """vLLM's fused experts at the sizes of Qwen3-30B-A3B, by number of tokens."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.fused_moe.fused_moe import fused_experts

    count, active, hidden, width = 128, 8, 2048, 768
    up = torch.randn(count, 2 * width, hidden, dtype=torch.bfloat16, device="cuda") / 50
    down = torch.randn(count, hidden, width, dtype=torch.bfloat16, device="cuda") / 50
    with set_current_vllm_config(VllmConfig()):
        for tokens in (1, 4, 16, 64, 256, 1024, 8192):
            states = torch.randn(tokens, hidden, dtype=torch.bfloat16, device="cuda")
            weights, chosen = torch.topk(torch.randn(tokens, count, device="cuda"), active)
            run = partial(fused_experts, states, up, down, weights.softmax(-1), chosen.to(torch.int32))
            graph = torch.cuda.CUDAGraph()
            run()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                for _ in range(REPLAYS):
                    run()
            seconds = timed(graph.replay) / REPLAYS
            distinct = len(set(chosen.flatten().tolist()))
            emit(
                {
                    "kind": "microbenchmark",
                    "name": "experts",
                    "tokens": tokens,
                    "distinct": distinct,
                    "seconds": seconds,
                    "bytes_per_second": distinct * 3 * width * hidden * 2 / seconds,
                    "flops_per_second": 2 * tokens * active * 3 * width * hidden / seconds,
                }
            )


def collective_rank(rank: int, ranks: int, path: str, port: int) -> None:
    """One rank of the collectives; rank 0 writes. Curves are in the planner's form."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import communication_op, parallel_state

    torch.cuda.set_device(rank)
    with set_current_vllm_config(VllmConfig()):
        parallel_state.set_custom_all_reduce(path == "peer")
        parallel_state.init_distributed_environment(ranks, rank, f"tcp://127.0.0.1:{port}", rank, "nccl")
        parallel_state.initialize_model_parallel(ranks)

        def curve(operation: str, make: Callable[[torch.Tensor], Any], graphed: bool) -> None:
            sizes, times = [], []
            for size in SIZES:
                if path != "peer" and size > 1 << 24:
                    continue
                tensor = torch.ones(size // 2, dtype=torch.bfloat16, device="cuda")
                for _ in range(3):
                    make(tensor)
                torch.cuda.synchronize()
                if graphed:
                    graph = torch.cuda.CUDAGraph()
                    with (
                        parallel_state.graph_capture(torch.device("cuda", rank)) as context,
                        torch.cuda.graph(graph, stream=context.stream),
                    ):
                        for _ in range(REPLAYS):
                            make(tensor)
                    seconds = timed(graph.replay, 5) / REPLAYS
                else:
                    seconds = timed(partial(repeated, make, tensor), 5) / REPLAYS
                sizes.append(size)
                times.append(seconds)
            if rank == 0:
                emit(
                    {
                        "kind": "microbenchmark",
                        "name": "collective",
                        "graphed": graphed,
                        "curve": {
                            "operation": operation,
                            "ranks": ranks,
                            "path": path,
                            "sizes_bytes": sizes,
                            "seconds": times,
                        },
                    }
                )

        reduce = communication_op.tensor_model_parallel_all_reduce
        gather = communication_op.tensor_model_parallel_all_gather
        curve("all_reduce", reduce, True)
        curve("all_reduce", reduce, False)

        def gathered(tensor: torch.Tensor) -> Any:
            # Sizes are of the gathered whole.
            return gather(tensor[: tensor.numel() // ranks])

        curve("all_gather", gathered, True)
        if ranks == 2:
            curve("send", lambda tensor: _exchange(tensor, rank), False)
    torch.distributed.destroy_process_group()


def _exchange(tensor: Any, rank: int) -> None:
    import torch.distributed as distributed

    if rank == 0:
        distributed.send(tensor, 1)
    else:
        distributed.recv(tensor, 0)


def collectives(ranks: int, path: str) -> None:
    """Spawn the ranks; a rank that dies takes the others with it."""
    import torch.multiprocessing as processes

    port = 29500 + ranks + (100 if path != "peer" else 0)
    processes.spawn(collective_rank, args=(ranks, path, port), nprocs=ranks, join=True)


def main() -> int:
    """Argument: the step as JSON: what to measure, on how many ranks, over which path."""
    step = json.loads(sys.argv[1])
    started = time.monotonic()
    if step["what"] == "device":
        for name, run in (("memory", memory), ("matrices", matrices), ("experts", experts)):
            guarded(name, run)
    else:
        guarded(step["name"], lambda: collectives(step["ranks"], step["path"]))
    print(f"{step['name']}: {time.monotonic() - started:.0f} s in process {os.getpid()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
