"""A placement as an inventory says it: the line that `cluster plan` prints to be pasted. Pure.

The words are those of inventories.composition.serving.Serving; a test pastes them.
"""

from __future__ import annotations

from typing import Any

from hardware.planner import assumptions
from hardware.planner.plan import Candidate, Plan
from hardware.planner.served import VLLM


def serving(plan: Plan, candidate: Candidate) -> str:
    """The placement as an inventory says it, to be pasted there; "" where it has no words for it."""
    if candidate.said is None or not plan.served.written:
        return ""
    mode, by = candidate.said
    options, served = plan.options, plan.served
    words = [f'model="{served.written}"', f'mode="{mode}"']
    words.append(f'span_by="{by}"' if mode == "span" else f"replicas={candidate.placement.replicas}")
    words.append(f'dtype="{options.dtype}"')
    if options.enforce_eager and served.engine in VLLM:
        words.append("enforce_eager=True")
    engine: dict[str, Any] = {}
    if options.max_model_len != served.length:
        engine["max_model_len"] = options.max_model_len
    for name in ("max_num_seqs", "max_num_batched_tokens", "kv_cache_memory_bytes"):
        if (value := getattr(options, name)) is not None:
            engine[name] = value
    if options.gpu_memory_utilization != assumptions.MEMORY_SHARE:
        engine["gpu_memory_utilization"] = options.gpu_memory_utilization
    if candidate.fits and plan.hardware.sharing(2) > 1 and served.engine in VLLM:
        # Each engine of one machine would take its share of all of the memory: it is told its part.
        engine.setdefault("kv_cache_memory_bytes", int(candidate.memory[0].kv_bytes))
    if engine:
        words.append(f"engine={engine!r}".replace("'", '"'))
    return f"Serving({', '.join(words)})"
