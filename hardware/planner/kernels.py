"""Whether vLLM has kernels for a model's dtype and quantisation on a device, which, and what they ask for. Pure.

Read from vLLM 0.24.0's own sources; each answer names the file. "Has kernels" is not "was run here": on hardware that
this project has not seen run, the note says what to prove first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hardware.model import RuntimeKind
from hardware.planner.architecture import Dtype, Quantisation

_PLATFORMS = "vllm/platforms/"
_QUANTISATION = "vllm/model_executor/layers/quantization/"
_LINEAR = "vllm/model_executor/kernels/linear/__init__.py"
_MIXED = "vllm/model_executor/kernels/linear/mixed_precision/"

# What a card says it is, when its processes are told to (the catalogue's environment).
_OVERRIDES = {"gfx1102": "gfx1100"}


@dataclass(frozen=True)
class Support:
    """`ok` says whether there are kernels; `kernel` which; `dtype` the activations' type that they take.

    `precision` is the type that is multiplied, which decides the FLOP rate. `arguments` go into the engine's.
    """

    ok: bool
    kernel: str
    dtype: Dtype
    precision: str
    reasons: tuple[str, ...]
    source: str
    arguments: tuple[tuple[str, object], ...] = ()


def support_of(kind: RuntimeKind, architecture: str, quantisation: Quantisation, dtype: Dtype) -> Support:
    """The answer for an architecture. Never raises: what is not known is a no, with the reason."""
    if kind == "cpu":
        return _cpu(quantisation, dtype)
    if kind == "rocm":
        return _rocm(architecture, quantisation, dtype)
    return _cuda(architecture, quantisation, dtype)


def _cuda(architecture: str, quantisation: Quantisation, dtype: Dtype) -> Support:
    found = re.fullmatch(r"sm_(\d+)", architecture)
    if not found:
        return _no(dtype, f"architecture {architecture!r} is no sm_NN", f"{_PLATFORMS}cuda.py")
    capability = int(found.group(1))
    reasons = []
    if capability == 120:
        reasons.append("sm_120 needs a runtime on CUDA 12.8 or newer; kernels of sm_100 do not run on it")
    if dtype == "bfloat16" and capability < 80:
        return _no(dtype, f"bfloat16 needs compute capability 8.0; sm_{capability} has not", f"{_PLATFORMS}cuda.py")
    method = quantisation.method
    if method == "none":
        return Support(True, "cuBLAS", dtype, dtype, tuple(reasons), f"{_PLATFORMS}cuda.py")
    if method == "fp8":
        if capability >= 89 and quantisation.activations:
            return Support(True, "CUTLASS FP8", dtype, "fp8", tuple(reasons), f"{_QUANTISATION}fp8.py")
        if capability >= 75:
            reasons.append("weights in FP8, products in 16 bits (Marlin): half the bytes, no more FLOPs")
            return Support(True, "Marlin", dtype, dtype, tuple(reasons), f"{_QUANTISATION}fp8.py")
        return _no(dtype, f"FP8 needs compute capability 7.5; sm_{capability} has not", f"{_QUANTISATION}fp8.py")
    if method == "int8":
        if capability < 75:
            return _no(dtype, "INT8 needs compute capability 7.5", f"{_QUANTISATION}compressed_tensors")
        if capability >= 100:
            reasons.append("CUTLASS INT8 is not built for Blackwell; Triton's kernel takes its place")
        return Support(True, "INT8", dtype, "int8", tuple(reasons), f"{_QUANTISATION}compressed_tensors")
    if method == "mxfp4":
        if capability < 80:
            return _no(dtype, "MXFP4 needs compute capability 8.0", f"{_QUANTISATION}mxfp4.py")
        return Support(True, "Marlin MXFP4", dtype, dtype, tuple(reasons), f"{_QUANTISATION}mxfp4.py")
    if capability < 75:
        return _no(dtype, f"{quantisation.origin} needs compute capability 7.5", f"{_QUANTISATION}auto_awq.py")
    if quantisation.bits not in (4, 8) or (quantisation.origin == "awq" and quantisation.bits != 4):
        known = "4 bits" if quantisation.origin == "awq" else "4 and 8 bits"
        return _no(dtype, f"{quantisation.bits}-bit weights have no kernel; {known} have", f"{_MIXED}marlin.py")
    if method == "gptq" and not quantisation.symmetric:
        return _no(dtype, "GPTQ with zero points has no kernel; symmetric has", f"{_QUANTISATION}auto_gptq.py")
    if capability == 90 and not quantisation.reordered and method == "gptq":
        return Support(True, "Machete", dtype, dtype, tuple(reasons), f"{_MIXED}machete.py")
    return Support(True, "Marlin", dtype, dtype, tuple(reasons), f"{_MIXED}marlin.py")


def _rocm(architecture: str, quantisation: Quantisation, dtype: Dtype) -> Support:
    seen = _OVERRIDES.get(architecture, architecture)
    reasons = []
    if seen != architecture:
        reasons.append(
            f"{architecture} is in no list of vLLM's: its processes load {seen} code "
            "(HSA_OVERRIDE_GFX_VERSION=11.0.0); prove it with a matrix product first"
        )
    if seen == "gfx1151":
        reasons.append("gfx1151 needs ROCm 7.0.2 or newer")
    known = ("gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201")
    if seen not in known:
        return _no(dtype, f"{seen} is not among {', '.join(known)}", f"{_PLATFORMS}rocm.py")
    method = quantisation.method
    if method == "none":
        return Support(True, "hipBLASLt", dtype, dtype, tuple(reasons), f"{_PLATFORMS}rocm.py")
    if method == "fp8":
        if seen.startswith(("gfx94", "gfx95", "gfx12")) and quantisation.activations:
            return Support(True, "ROCm FP8", dtype, "fp8", tuple(reasons), f"{_PLATFORMS}rocm.py: supports_fp8")
        return _no(dtype, f"{seen} has no FP8 units, and Marlin is for CUDA only", f"{_PLATFORMS}rocm.py: supports_fp8")
    if method == "int8":
        return Support(True, "Triton INT8", dtype, "int8", tuple(reasons), _LINEAR)
    if method == "mxfp4":
        if not seen.startswith("gfx95"):
            reasons.append("no MXFP4 units: weights are widened, which is slow")
        return Support(True, "Triton MXFP4", dtype, dtype, tuple(reasons), f"{_QUANTISATION}mxfp4.py")
    if quantisation.bits != 4:
        return _no(dtype, f"{quantisation.bits}-bit weights: Marlin is for CUDA only", f"{_MIXED}marlin.py")
    if quantisation.origin == "awq":
        # The AWQ path is Triton's; seen right in float16 and without compilation only.
        reasons.append("AWQ takes the Triton path, in float16 and eager: there is no Marlin on ROCm")
        return Support(
            True,
            "Triton AWQ",
            "float16",
            "float16",
            tuple(reasons),
            f"{_QUANTISATION}awq_triton.py",
            (("dtype", "float16"), ("enforce_eager", True)),
        )
    # vLLM asks the driver for the card's own name here, which the override does not change.
    if architecture == "gfx1100" and quantisation.symmetric and quantisation.group_size > 0:
        return Support(True, "RDNA3 W4A16", dtype, dtype, tuple(reasons), f"{_MIXED}rdna3_w4a16.py")
    if not quantisation.reordered and quantisation.group_size in (-1, 32, 64, 128, 256):
        return Support(True, "Triton W4A16", dtype, dtype, tuple(reasons), f"{_MIXED}triton_w4a16.py")
    half = (("dtype", "float16"),)
    return Support(True, "Exllama", "float16", "float16", tuple(reasons), f"{_MIXED}exllama.py", half)


def _cpu(quantisation: Quantisation, dtype: Dtype) -> Support:
    reasons = ("compiled, a CPU engine has answered garbage: eager mode",)
    eager: tuple[tuple[str, object], ...] = (("enforce_eager", True),)
    if quantisation.method == "none":
        return Support(True, "oneDNN", dtype, dtype, reasons, f"{_PLATFORMS}cpu.py", eager)
    if quantisation.method in ("awq", "gptq") and quantisation.bits == 4 and not quantisation.reordered:
        return Support(True, "CPU W4A16", dtype, dtype, reasons, f"{_MIXED}cpu.py", eager)
    if quantisation.method == "int8":
        return Support(True, "oneDNN INT8", dtype, "int8", reasons, _LINEAR, eager)
    return _no(dtype, f"{describe(quantisation)} has no kernel on a CPU", _LINEAR)


def describe(quantisation: Quantisation) -> str:
    """A quantisation in a few words."""
    if quantisation.method == "none":
        return "not quantised"
    group = f", groups of {quantisation.group_size}" if quantisation.group_size > 0 else ""
    name = quantisation.origin or quantisation.method
    return f"{name}, {quantisation.bits} bits{group}"


def _no(dtype: Dtype, reason: str, source: str) -> Support:
    return Support(False, "", dtype, dtype, (reason,), source)
