"""An engine that the locked runtime does not have is refused before anything is fetched."""

from __future__ import annotations

import pytest

from deploys.compute_base.settings import Runtime
from deploys.engines import refuse_missing
from deploys.settings import SettingsError

CPU = Runtime("cpu", "3.11")


@pytest.mark.parametrize("kind", ["vllm", "transformers"])
def test_what_the_cpu_runtime_has(kind: str) -> None:
    refuse_missing(kind, CPU, "mine")


def test_llama_cpp_is_not_in_the_lock() -> None:
    with pytest.raises(SettingsError, match=r"model mine wants the engine llama\.cpp.*no package xllamacpp; add it to"):
        refuse_missing("llama.cpp", CPU, "mine")


def test_an_unknown_engine() -> None:
    with pytest.raises(SettingsError, match="engine 'ollama' is not known; known are vllm, transformers"):
        refuse_missing("ollama", CPU, "mine")
