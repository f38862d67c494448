"""AMD Radeon RX 7600 XT: Navi 33, RDNA 3, gfx1102, 16 GB. Pure; bytes, seconds, watts.

gfx1102 has the instructions of gfx1100, with fewer registers, but is in no list of vLLM's, so its
processes are told to load gfx1100 code. That it works is to be proven on the card: see `engine_note`.
"""

from __future__ import annotations

from hardware.model import GIB, GIGA, Accelerator, Figure

_LAUNCH_TABLE = (
    "AMD's launch table of the Radeon RX 7600 XT, January 2024, as given by "
    "https://www.purepc.pl/amd-radeon-rx-7600-xt-oficjalna-prezentacja-karty-graficznej-rdna-3-prawie-to-samo-co-radeon-rx-7600"
)

RADEON_RX_7600_XT = Accelerator(
    name="AMD Radeon RX 7600 XT",
    vendor="amd",
    runtime_kind="rocm",
    architecture="gfx1102",
    memory_bytes=Figure(16 * GIB, f"16 GB GDDR6: {_LAUNCH_TABLE}"),
    memory_bandwidth_bytes_per_second=Figure(288 * GIGA, f"288 GB/s, 128 bit at 18 Gb/s: {_LAUNCH_TABLE}"),
    half_precision_dense_flops_per_second=Figure(
        45_140 * GIGA,
        "derived: 512 FP16 operations a clock and compute unit x 32 units x 2755 MHz boost. The same "
        "arithmetic at 2655 MHz gives the 43.5 TFLOPS that AMD states for the RX 7600, as given by "
        "https://www.dexerto.com/tech/amd-rx-7600-finalized-specs-leak-days-before-launch-2153539/; boost "
        "clock from https://pcspecchart.com/pc_parts/gpu/10",
    ),
    board_power_watts=Figure(190, f"total board power up to 190 W: {_LAUNCH_TABLE}"),
    engine="vllm",
    engine_note=(
        "gfx1102 is not among vLLM's supported ROCm GPUs (gfx1100, gfx1101 and newer: "
        "https://docs.vllm.ai/en/latest/getting_started/installation/gpu/). HSA_OVERRIDE_GFX_VERSION=11.0.0 "
        "makes it load gfx1100 code; prove that with one matrix multiplication in the engine's own runtime, "
        "compared with the CPU's result, before any model is downloaded. If it faults or differs, build the "
        "runtime for gfx1102 or serve with llama.cpp, whose ROCm builds name this card "
        "(https://github.com/lemonade-sdk/llamacpp-rocm)."
    ),
    environment=(("HSA_OVERRIDE_GFX_VERSION", "11.0.0"),),
)
