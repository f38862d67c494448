"""The planner's list of quantisation methods is that of the installed vLLM, asked in its own interpreter."""

from __future__ import annotations

import json
import subprocess

from hardware.planner.quantisation_methods import DEPRECATED, PLANNED, REFUSED

ASK = (
    "import json; from vllm.model_executor.layers import quantization as q; "
    "print(json.dumps([q.QUANTIZATION_METHODS, q.DEPRECATED_QUANTIZATION_METHODS]))"
)


def test_every_method_of_the_installed_vllm_has_an_answer(python: str, environment: dict[str, str]) -> None:
    asked = subprocess.run(
        [python, "-c", ASK], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    methods, deprecated = json.loads(asked.stdout.splitlines()[-1])
    assert set(methods) == {*PLANNED, *REFUSED}
    assert set(deprecated) == set(DEPRECATED)
