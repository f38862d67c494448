"""Containers on one machine that play a cluster: a head and any number of workers on a bridge of their own.

A node's memory and processor threads are its container's limits. Each worker has one accelerator of the machine, or
none; then all of them share the machine's processors. Only the number of workers and the accelerator vary.
"""

from __future__ import annotations

from hardware.model import GIB, GIGA, Accelerator, Cluster, Figure, Link, Node

_HEAD_MEMORY = Figure(
    1 * GIB,
    "the requirements' limit of a head that loads no model (500 MB to 1 GB); benchmarks/results/startup-2026-11-21.md: "
    "896 MiB",
)
_WORKER_MEMORY = Figure(
    3 * GIB,
    "the requirements' limit of a worker with a small model (2 to 3 GB); benchmarks/results/startup-2026-11-21.md: "
    "2743 MiB at most",
)
_GPU_WORKER_MEMORY = Figure(
    8 * GIB,
    "assumed, not measured: the processes of one engine (3 GiB without a GPU), and the pages of one file of weights "
    "while it goes to the card",
)


def containers(workers: int, accelerator: Accelerator | None = None) -> Cluster:
    """`head` and worker1 to worker<workers>; ProfileError when `workers` is below one."""
    head = Node(
        name="head",
        role="control",
        board="container",
        cluster_interface="eth0",
        processor_threads=1,
        memory_bytes=_HEAD_MEMORY,
    )
    compute = tuple(
        Node(
            name=f"worker{index}",
            role="compute",
            board="container",
            cluster_interface="eth0",
            processor_threads=2,
            memory_bytes=_GPU_WORKER_MEMORY if accelerator else _WORKER_MEMORY,
            reserve_bytes=0,  # a container's limit counts its own processes alone
            accelerators=(accelerator,) if accelerator else (),
        )
        for index in range(1, workers + 1)
    )
    link = Link(
        kind="virtual",
        members=(head.name, *(node.name for node in compute)),
        bits_per_second=Figure(
            10 * GIGA,
            "10 Gb/s, the speed that Linux reports for a veth pair (drivers/net/veth.c, SPEED_10000); nothing is "
            "shaped",
        ),
        note="Memory copies on one machine: the processors are the limit, not the network.",
    )
    return Cluster(name="containers", version="1.0", control=head, compute=compute, links=(link,))


CLUSTER = containers(2)
