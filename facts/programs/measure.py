"""Measure what this machine reaches: memory, matrix products, or collectives with others. Argument: an order as JSON.

Runs inside the locked runtime and prints one JSON record a line, in the form that hardware/planner/microbenchmarks.py
reads. An order is {"what": "device"} or {"what": "collectives", "rank": 0, "ranks": 2, "address": ..., "port": ...,
"path": ..., "interface": ..., "seconds": ...}. Takes at most 2 GiB of memory, half a minute for a device.
"""

import contextlib
import datetime
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

MIB = 1024 * 1024
SIZES = [4**power for power in range(5, 13)]  # 1 KiB to 16 MiB


def emit(**record: object) -> None:
    """One record, at once."""
    print(json.dumps({"kind": "microbenchmark", **record}), flush=True)


def fastest(run: Callable[[], object], wait: Callable[[], object], seconds: float = 1.5) -> float:
    """Median of the quicker half of as many runs as fit: what else the machine does only ever adds."""
    run()
    wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        begun = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begun)
    return statistics.median(sorted(times)[: max(1, len(times) // 2)])


def each(run: Callable[[Any, Any], object], left: Any, others: list[Any]) -> None:
    """One call for each of the others."""
    for other in others:
        run(left, other)


def device() -> None:
    """Memory size and bandwidth, and matrix products by type."""
    import torch

    gpu = torch.cuda.is_available()
    place = torch.device("cuda") if gpu else torch.device("cpu")
    wait = torch.cuda.synchronize if gpu else (lambda: None)
    emit(name="load", average=os.getloadavg()[0], processors=len(os.sched_getaffinity(0)))
    if gpu:
        emit(name="memory size", bytes=torch.cuda.mem_get_info()[1])
    else:
        emit(name="memory size", bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    source = torch.ones(512 * MIB, dtype=torch.uint8, device=place)
    target = torch.empty_like(source)
    seconds = fastest(lambda: target.copy_(source), wait)
    emit(name="memory copy", bytes_per_second=2 * source.numel() / seconds)
    words = source.view(torch.float32)
    seconds = fastest(lambda: torch.sum(words), wait)
    emit(name="memory read", bytes_per_second=source.numel() / seconds)
    size = 8192 if gpu else 1024
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if not gpu and dtype == torch.float16:
            continue  # no CPU of this project has it, and it takes minutes
        name = str(dtype).replace("torch.", "")
        with contextlib.suppress(RuntimeError):
            left = torch.randn(size, size, device=place).to(dtype)
            right = torch.randn(size, size, device=place).to(dtype)
            seconds = fastest(functools.partial(torch.matmul, left, right), wait)
            emit(name="matrices", dtype=name, shape=[size] * 3, flops_per_second=2 * size**3 / seconds)
            if gpu:
                continue
            # As in decoding: few rows, and weights that no cache holds. On a GPU memory is the limit there.
            rows, inner, count = 16, 2048, 16
            left = torch.randn(rows, inner).to(dtype)
            weights = [torch.randn(inner, inner).to(dtype) for _ in range(count)]
            seconds = fastest(functools.partial(each, torch.matmul, left, weights), wait)
            flops = 2 * rows * inner * inner * count / seconds
            emit(name="matrices of few rows", dtype=name, shape=[rows, inner, inner], flops_per_second=flops)


def collectives(order: dict[str, Any]) -> None:
    """All-reduce, all-gather and send by size; rank 0 prints."""
    if order["interface"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", order["interface"])
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "=" + order["interface"])
    import torch
    from torch import distributed

    gpu = torch.cuda.is_available()
    place = torch.device("cuda", 0) if gpu else torch.device("cpu")
    wait = torch.cuda.synchronize if gpu else (lambda: None)
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        init_method=f"tcp://{order['address']}:{order['port']}",
        rank=order["rank"],
        world_size=order["ranks"],
        timeout=datetime.timedelta(seconds=order["seconds"]),
    )
    ranks, rank = order["ranks"], order["rank"]

    def timed(run: Callable[[], object]) -> float:
        """The same number of runs on every rank, or they would wait for each other for ever."""
        for _ in range(3):
            run()
        wait()
        distributed.barrier()
        times = []
        for _ in range(10):
            begun = time.perf_counter()
            run()
            wait()
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    def reduce(tensor: Any) -> Callable[[], object]:
        return lambda: distributed.all_reduce(tensor)

    def gather(tensor: Any) -> Callable[[], object]:
        part = tensor[: max(1, tensor.numel() // ranks)].clone()
        parts = [torch.empty_like(part) for _ in range(ranks)]
        return lambda: distributed.all_gather(parts, part)

    def send(tensor: Any) -> Callable[[], object]:
        if rank == 0:
            return lambda: distributed.send(tensor, 1)
        if rank == 1:
            return lambda: distributed.recv(tensor, 0)
        return lambda: None

    for operation, make in (("all_reduce", reduce), ("all_gather", gather), ("send", send)):
        seconds = [timed(make(torch.ones(size // 4, device=place))) for size in SIZES]
        if rank == 0:
            counted = 2 if operation == "send" else ranks
            curve = {"operation": operation, "ranks": counted, "path": order["path"]}
            emit(name="collective", curve={**curve, "sizes_bytes": SIZES, "seconds": seconds})
    distributed.destroy_process_group()


def main() -> None:
    """Exit 0 when all was measured; otherwise the reason is the last line of standard error."""
    order = json.loads(sys.argv[1])
    if order["what"] == "device":
        device()
    else:
        collectives(order)


if __name__ == "__main__":
    main()
