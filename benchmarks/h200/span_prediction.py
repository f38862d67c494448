"""What the planner says of the lanes of benchmarks.h200.span, with a kept calibration. Milliseconds.

That one was fitted to the same 8B shape, asked without an API server, and to links of one server with the same cards.
How many share a step is counted as in hardware/planner/prediction.py.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.h200 import shapes
from benchmarks.h200.compare import DEVICE, PATHS, PRECISION
from hardware.planner import calibration, configuration, fitting, rates
from hardware.planner.architecture import Model
from hardware.planner.options import Options
from hardware.planner.points import Point
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step
from inventories.models import entry

KNOWN = RESULTS / "h200-2026-11-21-calibration.json"


def predicted(model: str, shape: str, numbers: tuple[int, ...], prompt: int, output: int) -> dict[str, Any]:
    """Lane -> requests at once -> first token and between tokens; bare and cluster are the same to the planner."""
    small = entry(model).served.shape
    if not isinstance(small, Model):
        raise TypeError(f"{model}: the catalogue has no shape of it")
    vocabulary = {**shapes.SHAPES[shape], "vocab_size": small.vocabulary_size}
    large = configuration.read(vocabulary, shape)
    lanes = {
        "pipeline-sockets": (small, Sharding(pipeline=2), "sockets"),
        "tensor-fast": (large, Sharding(tensor=2), "peer"),
        "tensor-sockets": (large, Sharding(tensor=2), "sockets"),
        "one-gpu": (large, Sharding(), "peer"),
    }
    found: dict[str, Any] = {}
    for lane, (which, sharding, path) in lanes.items():
        by_number = {str(number): _at(which, sharding, path, number, prompt, output) for number in numbers}
        found |= (
            {lane: by_number} if lane == "one-gpu" else {f"{lane}, {kind}": by_number for kind in ("bare", "cluster")}
        )
    return found


def _at(model: Model, sharding: Sharding, path: str, number: int, prompt: int, output: int) -> dict[str, float]:
    known = calibration.from_json(KNOWN.read_text(), KNOWN.name)
    achieved = rates.rates(DEVICE, known, PRECISION, "likely")

    def seconds(step: Step) -> float:
        point = Point("", model, sharding, Options(dtype="bfloat16"), step, path, 0.0)
        return fitting.predict_point(point, achieved, PATHS, known.curves, host_beside=True)

    decode = seconds(Step(math.ceil(number / sharding.pipeline), prompt + output / 2))
    prefill = seconds(Step(1, prompt, prefill=True))
    between = decode + (number - 1) * prefill / sharding.pipeline / output
    first = prefill + (decode / 2 if number > 1 else 0.0)
    return {"first_token_ms": round(first * 1000, 3), "between_tokens_ms": round(between * 1000, 3)}
