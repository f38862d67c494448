"""What was measured on a cluster's own hardware, kept by hardware and engine version. Pure; bytes, seconds, FLOPs.

A None field was not measured: the planner then falls back to datasheet and assumptions for that part, with their
interval. `errors` are ratios measured / predicted of points that were not used to fit, the honest ones first.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from hardware.planner.collectives import Curve
from hardware.planner.errors import PlanError

FORMAT = 1
# Comparisons that are kept; older ones were made with other versions and by other hands.
KEPT = 60
_NUMBERS = (
    "memory_bytes",
    "memory_bytes_per_second",
    "expert_bytes_per_second",
    "expert_flops_per_second",
    "attention_bytes_per_second",
    "attention_flops_per_second",
    "kernel_seconds",
    "launch_seconds",
    "step_seconds",
    "host_seconds",
    "sequence_seconds",
    "request_seconds",
    "distributed_seconds",
    "context_bytes",
    "graph_bytes",
    "communicator_bytes",
)
_MAY_BE_ZERO = {
    "kernel_seconds", "launch_seconds", "step_seconds", "host_seconds", "sequence_seconds", "request_seconds",
    "distributed_seconds", "context_bytes", "graph_bytes", "communicator_bytes",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One comparison of a prediction with what was then measured, in seconds. `when` is a date and time, or empty."""

    what: str
    predicted: float
    measured: float
    fitted: bool = False
    when: str = ""

    def __post_init__(self) -> None:
        if not (self.predicted > 0 and self.measured > 0):
            raise PlanError(f"comparison {self.what!r}: {self.predicted} against {self.measured} s; measure again")

    @property
    def ratio(self) -> float:
        """Measured over predicted: above 1, the prediction was too small."""
        return self.measured / self.predicted


@dataclass(frozen=True)
class PastError:
    """How wrong predictions were: |predicted / measured - 1| over comparisons that no fit has seen."""

    comparisons: int
    median: float
    largest: float

    def sentence(self) -> str:
        """For people."""
        return (
            f"median error {self.median:.0%}, largest {self.largest:.0%}, in {self.comparisons} comparisons of a "
            "prediction with what was then measured"
        )


@dataclass(frozen=True)
class Calibration:
    """Achieved rates and overheads of one accelerator (or processor) model with one engine version.

    Rates are what programs reach, not what a datasheet says. `flops_per_second` is by the type that is multiplied:
    float32, float16, bfloat16, fp8, int8.
    """

    hardware: str
    engine: str
    made: str = ""
    memory_bytes: float | None = None
    memory_bytes_per_second: float | None = None
    expert_bytes_per_second: float | None = None
    expert_flops_per_second: float | None = None
    attention_bytes_per_second: float | None = None
    attention_flops_per_second: float | None = None
    flops_per_second: tuple[tuple[str, float], ...] = ()
    few_rows_flops_per_second: tuple[tuple[str, float], ...] = ()
    kernel_seconds: float | None = None
    launch_seconds: float | None = None
    step_seconds: float | None = None
    host_seconds: float | None = None
    sequence_seconds: float | None = None
    request_seconds: float | None = None
    distributed_seconds: float | None = None
    context_bytes: float | None = None
    graph_bytes: float | None = None
    communicator_bytes: float | None = None
    curves: tuple[Curve, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and (value < 0 or (value == 0 and name not in _MAY_BE_ZERO)):
                raise PlanError(f"calibration of {self.hardware}: {name} is {value}; measure again")
        for dtype, value in (*self.flops_per_second, *self.few_rows_flops_per_second):
            if value <= 0:
                raise PlanError(f"calibration of {self.hardware}: {dtype} at {value} FLOP/s; measure again")

    def flops(self, dtype: str) -> float | None:
        """Achieved FLOP/s of matrix products in a type; the two 16-bit types stand in for each other."""
        known = dict(self.flops_per_second)
        twin = {"float16": "bfloat16", "bfloat16": "float16"}.get(dtype, dtype)
        return known.get(dtype, known.get(twin))

    def few_rows_flops(self, dtype: str) -> float | None:
        """The same of products with few rows, None where that was not measured."""
        return dict(self.few_rows_flops_per_second).get(dtype)

    def with_outcomes(self, outcomes: tuple[Outcome, ...]) -> Calibration:
        """The same, with more comparisons; the oldest make room."""
        return replace(self, outcomes=(*self.outcomes, *outcomes)[-KEPT:])

    def ratios(self) -> tuple[float, ...]:
        """Measured over predicted of the points that were not used to fit, or of all when there are no others."""
        honest = tuple(outcome.ratio for outcome in self.outcomes if not outcome.fitted)
        return honest or tuple(outcome.ratio for outcome in self.outcomes)

    def past_error(self) -> PastError | None:
        """The error so far, None while nothing was predicted before it was measured."""
        errors = [abs(1 / outcome.ratio - 1) for outcome in self.outcomes if not outcome.fitted]
        return PastError(len(errors), statistics.median(errors), max(errors)) if errors else None


def to_json(calibration: Calibration) -> str:
    """A document that `from_json` reads back into an equal record."""
    return json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2) + "\n"


def from_json(text: str, where: str) -> Calibration:
    """Read a record; PlanError names the file and what is wrong with it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{where}: not JSON ({error}); run `cluster calibrate` again") from None
    if not isinstance(values, Mapping) or values.get("format") != FORMAT:
        raise PlanError(f"{where}: no calibration of format {FORMAT}; run `cluster calibrate` again")
    known = {entry.name for entry in fields(Calibration)}
    unknown = sorted(set(values) - known - {"format"})
    if unknown:
        raise PlanError(f"{where}: unknown field {', '.join(unknown)}; run `cluster calibrate` again")
    try:
        return Calibration(**{**_plain(values), **_parts(values)})
    except (TypeError, LookupError, ValueError, AttributeError, OverflowError) as error:
        raise PlanError(f"{where}: {error}; run `cluster calibrate` again") from None


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: values[name] for name in ("hardware", "engine", "made") if name in values}
    for name in _NUMBERS:
        value = values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} is {value!r}, not a number")
        plain[name] = value
    return plain


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "flops_per_second": tuple((str(dtype), float(value)) for dtype, value in values.get("flops_per_second", ())),
        "few_rows_flops_per_second": tuple(
            (str(dtype), float(value)) for dtype, value in values.get("few_rows_flops_per_second", ())
        ),
        "curves": tuple(
            Curve(
                operation=entry["operation"],
                ranks=int(entry["ranks"]),
                path=str(entry["path"]),
                sizes_bytes=tuple(int(size) for size in entry["sizes_bytes"]),
                seconds=tuple(float(value) for value in entry["seconds"]),
            )
            for entry in values.get("curves", ())
        ),
        "outcomes": tuple(
            Outcome(
                str(entry["what"]),
                float(entry["predicted"]),
                float(entry["measured"]),
                bool(entry["fitted"]),
                str(entry.get("when", "")),
            )
            for entry in values.get("outcomes", ())
        ),
    }
