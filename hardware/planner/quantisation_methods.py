"""Every quantisation method that the locked vLLM knows, and what the planner does with a checkpoint of it. Pure data.

The names are QUANTIZATION_METHODS of vllm/model_executor/layers/quantization/__init__.py, the same in 0.29.0 (the CUDA
runtime) and 0.32.0 (the CPU runtime); a test holds them to the installed one. What is not planned is refused by name:
to guess a layout would be a wrong size.
"""

from __future__ import annotations

# Methods whose checkpoints are counted -> the reader in quantisation.py.
PLANNED = {
    "awq": "awq",
    "auto_awq": "awq",
    "awq_marlin": "awq",
    "gptq": "gptq",
    "auto_gptq": "gptq",
    "gptq_marlin": "gptq",
    "fp8": "fp8",
    "fbgemm_fp8": "fbgemm_fp8",
    "compressed-tensors": "compressed-tensors",
    "modelopt": "modelopt",
    "mxfp4": "mxfp4",
    "gpt_oss_mxfp4": "mxfp4",
}

_WHILE_LOADING = "vLLM makes it from a 16-bit checkpoint while it loads one, so no config.json names it"
_LAYOUT = "the planner does not know how it stores weights"

# Methods that are refused -> why.
REFUSED = {
    "fp_quant": f"vLLM calls it deprecated, and {_LAYOUT}",
    "modelopt_fp4": f"{_LAYOUT} (NVFP4)",
    "modelopt_mxfp8": f"{_LAYOUT} (MXFP8)",
    "modelopt_mixed": "its layers have several unlike kinds of weights, and the planner counts one",
    "humming": _WHILE_LOADING,
    "experts_int8": _WHILE_LOADING,
    "quark": _LAYOUT,
    "moe_wna16": "vLLM takes it as an engine argument for AWQ and GPTQ checkpoints only",
    "torchao": _LAYOUT,
    "inc": _LAYOUT,
    "deepseek_v4_fp8": f"{_LAYOUT}, nor the models that have it",
    "online": _WHILE_LOADING,
    "fp8_per_tensor": _WHILE_LOADING,
    "fp8_per_block": _WHILE_LOADING,
    "fp8_per_channel": _WHILE_LOADING,
    "int8_per_channel_weight_only": _WHILE_LOADING,
    "nvfp4_per_token": _WHILE_LOADING,
    "mxfp8": f"{_LAYOUT} (MXFP8)",
}

# Another library's name in a config.json -> the method that takes it (`override_quantization_method`).
ALIASES = {"compressed_tensors": "compressed-tensors", "auto-round": "inc"}

# vLLM refuses these unless the engine is told `allow_deprecated_quantization` (DEPRECATED_QUANTIZATION_METHODS).
DEPRECATED = ("fbgemm_fp8", "fp_quant")

# Of ModelOpt's `quant_algo` the ones that are FP8 -> numbers that share a scale (0: the tensor, -1: a row).
MODELOPT_FP8 = {"FP8": 0, "FP8_PER_CHANNEL_PER_TOKEN": -1, "FP8_PB_WO": 128}
