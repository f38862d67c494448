"""NVIDIA GeForce RTX 5070: GB205, Blackwell, sm_120, 12 GB. Pure; bytes, seconds, watts.

sm_120 is not the sm_100 of the data-centre Blackwells: kernels built for one do not run on the other.
"""

from __future__ import annotations

from hardware.model import GIB, GIGA, Accelerator, Figure

_NVIDIA_TABLE = "NVIDIA's GeForce RTX 5070 specifications, as given by"
_COMPARISON = "https://fpsbench.com/compare/gpu/intel-iris-xe-max-graphics-vs-nvidia-geforce-rtx-5070"
_ANNOUNCEMENT = (
    "https://www.tweaktown.com/news/102469/"
    "nvidia-geforce-rtx-50-series-specs-pricing-and-performance-plan-that-upgrade-today/index.html"
)

GEFORCE_RTX_5070 = Accelerator(
    name="NVIDIA GeForce RTX 5070",
    vendor="nvidia",
    runtime_kind="cuda",
    architecture="sm_120",
    memory_bytes=Figure(12 * GIB, f"12 GB GDDR7: {_NVIDIA_TABLE} {_ANNOUNCEMENT}"),
    memory_bandwidth_bytes_per_second=Figure(
        672 * GIGA, f"672 GB/s, 192 bit at 28 Gb/s: {_NVIDIA_TABLE} {_COMPARISON}"
    ),
    half_precision_dense_flops_per_second=Figure(
        61_750 * GIGA,
        f"derived: 988 AI TOPS (FP4, sparse) / 16: {_NVIDIA_TABLE} {_ANNOUNCEMENT}. Half each for dense, "
        "FP8, FP16 and 32-bit accumulation, the ladder measured on an RTX 5060 Ti at "
        "https://github.com/QuantumDrizzy/BLACKWALL (47.0 TFLOPS)",
    ),
    board_power_watts=Figure(250, f"total graphics power 250 W: {_NVIDIA_TABLE} {_COMPARISON}"),
    engine="vllm",
    engine_note=(
        "needs kernels for sm_120, so a runtime on CUDA 12.8 or newer "
        "(https://www.mintlify.com/NVIDIA/cutlass/architectures/blackwell)."
    ),
)
