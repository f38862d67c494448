"""AMD Ryzen AI Max+ 395: Zen 5 CPU, Radeon 8060S iGPU (gfx1151) and XDNA 2 NPU on one 256-bit memory. Pure.

CPU, iGPU and NPU share one pool: the iGPU's bytes are taken from the system's, and its bandwidth is the
system's. How much the iGPU may map is a kernel argument (GTT), so the amount and the argument are
derived from one constant.
"""

from __future__ import annotations

from hardware.model import GIB, GIGA, Accelerator, Figure, NeuralProcessor

_PAGE_BYTES = 4096
# Of 128 GB: the rest is for the system, Ray's object store and the page cache that feeds the weights.
_GRAPHICS_MEMORY_BYTES = 96 * GIB

_AMD_TABLE = (
    "AMD's Ryzen AI Max table, as given by "
    "https://www.svethardware.cz/amd-predstavuje-ryzen-ai-max-strix-halo-s-az-16-jadry-a-gpu-se-40-cu/61477"
)
_AMD_TUNING = (
    "AMD RDNA3.5 system optimization, memory settings, "
    "https://rocm.docs.amd.com/en/docs-7.14.0/_sources/reference/system-optimization/rdna3-5.rst"
)
_MEASURED = "https://whylucian.github.io/softab/docs/hardware-specs.html"

PROCESSOR = "AMD Ryzen AI Max+ 395"
# 16 cores, two threads each: AMD's table above.
PROCESSOR_THREADS = 32

SYSTEM_MEMORY_BANDWIDTH_BYTES_PER_SECOND = Figure(
    256 * GIGA, f"256 GB/s, LPDDR5X-8000 on 256 bit: {_AMD_TABLE}; about 215 GB/s measured: {_MEASURED}"
)

RADEON_8060S = Accelerator(
    name="AMD Radeon 8060S",
    vendor="amd",
    runtime_kind="rocm",
    architecture="gfx1151",
    memory_bytes=Figure(
        _GRAPHICS_MEMORY_BYTES,
        "the GTT limit that this part's kernel arguments set, on a board with 128 GB; "
        f"memory is mapped, not partitioned: {_AMD_TUNING}",
    ),
    memory_bandwidth_bytes_per_second=SYSTEM_MEMORY_BANDWIDTH_BYTES_PER_SECOND,
    half_precision_dense_flops_per_second=Figure(
        59_392 * GIGA,
        "derived: 512 FP16 operations a clock and compute unit x 40 units x 2.9 GHz, as in "
        f"{_MEASURED}; 36.9 TFLOPS measured with hipBLASLt: https://llm-tracker.info/_TOORG/Strix-Halo",
    ),
    board_power_watts=Figure(
        120, f"upper end of the configurable 45 to 120 W, for the whole package, CPU included: {_AMD_TABLE}"
    ),
    shares_system_memory=True,
    engine="vllm",
    engine_note=(
        "vLLM asks for ROCm 7.0.2 or newer on gfx1151 "
        "(https://docs.vllm.ai/en/latest/getting_started/installation/gpu/). Memory queries may answer N/A: "
        "read the GTT size from sysfs. Kernel 6.15 is the oldest to try; kernels before 6.18.4 and "
        "linux-firmware 20251125 are reported unstable on this part "
        "(https://github.com/kyuz0/amd-strix-halo-toolboxes)."
    ),
    # The GTT size follows TTM's page limit, in 4 KiB pages; amdgpu.gttsize is the older way.
    kernel_arguments=(f"ttm.pages_limit={_GRAPHICS_MEMORY_BYTES // _PAGE_BYTES}",),
    minimum_kernel="6.15",
)

XDNA_2 = NeuralProcessor(
    name="AMD XDNA 2",
    peak_int8_operations_per_second=Figure(50_000 * GIGA, f"50 TOPS: {_AMD_TABLE}"),
    note="vLLM has no support for this NPU: it is detected and reported, and the iGPU serves.",
)
