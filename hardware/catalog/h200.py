"""NVIDIA H200 (SXM): Hopper, sm_90, 141 GB. Pure; bytes, seconds, watts."""

from __future__ import annotations

from hardware.model import GIB, GIGA, Accelerator, Figure

_DATASHEET = "NVIDIA H200 Tensor Core GPU datasheet (SXM), as given by https://aiwiki.ai/wiki/nvidia_h200"

H200 = Accelerator(
    name="NVIDIA H200",
    vendor="nvidia",
    runtime_kind="cuda",
    architecture="sm_90",
    # The datasheet's GB are GiB here: the driver shows 143771 MiB (140.4 GiB) on a real one
    # (tests/facts/fixtures/nvidia-h200-x4), which is more than 141 decimal gigabytes.
    memory_bytes=Figure(141 * GIB, f"141 GB HBM3e: {_DATASHEET}"),
    memory_bandwidth_bytes_per_second=Figure(4800 * GIGA, f"4.8 TB/s: {_DATASHEET}"),
    half_precision_dense_flops_per_second=Figure(
        989_500 * GIGA,
        "derived: half of the 1,979 TFLOPS that the NVIDIA H200 datasheet states with sparsity; dense 989 "
        "TFLOPS as given by https://itkb.uw.cz/2026/06/nvidia-h200-vs-b300-precisions-cores.html",
    ),
    eight_bit_dense_flops_per_second=Figure(
        1_979_000 * GIGA,
        f"derived: half of the 3,958 TFLOPS (FP8) that the datasheet states with sparsity: {_DATASHEET}",
    ),
    peer_bandwidth_bytes_per_second=Figure(
        450 * GIGA, f"derived: half of NVLink's 900 GB/s, which counts both directions: {_DATASHEET}"
    ),
    board_power_watts=Figure(
        700,
        "TGP 700 W: NVIDIA's MLPerf Inference v4.1 system description, "
        "https://raw.githubusercontent.com/mlcommons/inference_results_v4.1/main/closed/NVIDIA/systems/H200-SXM-141GBx8_TRT_MaxQ.json",
    ),
    engine="vllm",
)
