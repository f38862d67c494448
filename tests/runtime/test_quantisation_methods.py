"""The planner's list of quantisation methods is that of the installed vLLM, asked in its own interpreter."""

from __future__ import annotations

import json
from collections.abc import Callable

from hardware.planner.quantisation_methods import DEPRECATED, PLANNED, REFUSED

ASK = (
    "import json; from vllm.model_executor.layers import quantization as q; "
    "print(json.dumps([q.QUANTIZATION_METHODS, q.DEPRECATED_QUANTIZATION_METHODS]))"
)


def test_every_method_of_the_installed_vllm_has_an_answer(said: Callable[..., str]) -> None:
    methods, deprecated = json.loads(said(ASK).splitlines()[-1])
    assert set(methods) == {*PLANNED, *REFUSED}
    assert set(deprecated) == set(DEPRECATED)
