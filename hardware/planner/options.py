"""What the engine is told beside the placement, with vLLM's own defaults. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from hardware.planner import assumptions
from hardware.planner.architecture import Dtype
from hardware.planner.errors import PlanError


@dataclass(frozen=True)
class Options:
    """vLLM's names. None where vLLM decides; its rules are below."""

    dtype: Dtype | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float = assumptions.MEMORY_SHARE
    kv_cache_memory_bytes: int | None = None
    kv_cache_bytes_per_value: int | None = None
    block_size: int = 16
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_utilization <= 1:
            raise PlanError(
                f"gpu_memory_utilization is {self.gpu_memory_utilization}; it is a share, above 0 and at most 1"
            )
        if self.dtype is not None and self.dtype not in get_args(Dtype):
            raise PlanError(f"dtype is {self.dtype!r}; the planner knows auto, {', '.join(get_args(Dtype))}")
        for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_memory_bytes", "block_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PlanError(f"{name} is {value}; it has to be at least 1")


LARGE_DEVICE_BYTES = 70 * 1024**3  # from here on vLLM's defaults are larger

# What counts for memory among an engine's arguments, by vLLM's names.
SIZES = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_bytes")


def declared(dtype: str, enforce_eager: bool, engine: Mapping[str, Any]) -> Options:
    """The options of an engine as an inventory declares it; PlanError that names a value that cannot be."""
    given: dict[str, Any] = {}
    for name in SIZES:
        if (value := engine.get(name)) is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PlanError(f"{name} is {value!r}; give a number")
            given[name] = value if name == "gpu_memory_utilization" else int(value)
    return Options(dtype=None if dtype in ("", "auto") else cast(Dtype, dtype), enforce_eager=enforce_eager, **given)


def batched_tokens(options: Options, memory_bytes: float, runtime_kind: str) -> int:
    """Most tokens in one step: vllm/engine/arg_utils.py:get_batch_defaults, for the API server."""
    if options.max_num_batched_tokens is not None:
        return options.max_num_batched_tokens
    return 8192 if runtime_kind != "cpu" and memory_bytes >= LARGE_DEVICE_BYTES else 2048


def sequences(options: Options, memory_bytes: float, runtime_kind: str) -> int:
    """Most sequences in one step, by the same rules, and never more than tokens."""
    if options.max_num_seqs is not None:
        return options.max_num_seqs
    default = 128 if runtime_kind == "cpu" else 1024 if memory_bytes >= LARGE_DEVICE_BYTES else 256
    return min(default, batched_tokens(options, memory_bytes, runtime_kind))
