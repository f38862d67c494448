"""What limited a run, by the engine of `cluster explain`: its inputs are put into the bundle, and read from it alone.

`limit_inputs` writes `inventory/explain.json` while the cluster is known; beside it the requests are needed. Steps are
those that clients saw: the middle of the gaps between tokens is a decode step, and the time to first token of an
unloaded step is a prefill with the way there and back in it. Seconds, bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from experiments.report import requests
from experiments.report.bundle_files import BundleFiles
from experiments.report.requests import StepFigures
from hardware.model import ProfileError
from hardware.planner import calibration as calibrations
from hardware.planner import configuration, rates
from hardware.planner import explain as explaining
from hardware.planner.calibration import Calibration
from hardware.planner.collectives import Path
from hardware.planner.errors import PlanError
from hardware.planner.explain import Finding
from hardware.planner.options import Options
from hardware.planner.points import Point
from hardware.planner.rates import Device
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step

FILE = "inventory/explain.json"
FORMAT = 1
# Below so many requests in flight an engine has one at a time, and TTFT is a prefill without a queue.
ALONE = 1.5


def findings(files: BundleFiles) -> list[Finding] | str:
    """A finding for each step that can be explained; else why there is none."""
    said = files.json(FILE)
    if not isinstance(said, Mapping):
        return files.why(FILE)
    if said.get("refusal"):
        return f"the plan could not tell: {said['refusal']}"
    found = requests.read(files)
    if found is None:
        return files.why(requests.REQUESTS)
    try:
        known = _Known(said)
        points = [point for step in found.steps if step.good for point in known.points(step)]
        explained = [known.explain(point) for point in points]
    except (PlanError, ProfileError) as error:
        return f"{FILE}: {error}"
    except (LookupError, TypeError, ValueError) as error:
        return f"{FILE}: {type(error).__name__} {error}; it is none that this version wrote"
    return explained or "no step has the tokens of its prompts and the times between its answers' tokens"


class _Known:
    """What `limit_inputs` wrote, read back."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        if said.get("format") != FORMAT:
            raise PlanError(f"format {said.get('format')!r}, and this version reads {FORMAT}")
        self.options = Options(**_only(Options, said["options"]))
        config = said["model"]["config"]
        model = configuration.read(config, str(said["model"]["name"]), FILE)
        self.model = replace(model, dtype=self.options.dtype or model.dtype)
        self.device = Device(**_only(Device, said["device"]))
        self.replicas = max(1, int(said["replicas"]))
        self.one_machine = bool(said["one_machine"])
        self.sharding = Sharding(**_only(Sharding, said["sharding"]))
        self.path = str(said["path"])
        self.paths = {str(key): Path(**_only(Path, path)) for key, path in said["paths"].items()}
        kept = said.get("calibration")
        self.calibration: Calibration | None = calibrations.from_json(json.dumps(kept), FILE) if kept else None

    def points(self, step: StepFigures) -> Iterator[Point]:
        """The decode step in the middle, and the prefill where nothing queued."""
        if not step.prompt_tokens:
            return
        each = step.in_flight / min(self.replicas, max(1.0, step.in_flight))
        shape = f"{step.name}: {self.model.name}"
        if gap := step.itl[0.5].value:
            context = step.prompt_tokens + step.output_tokens / 2
            yield self._point(shape, Step(max(1, round(each)), context), gap)
        if each < ALONE and (first := step.ttft[0.5].value):
            yield self._point(shape, Step(1, step.prompt_tokens, prefill=True), first)

    def _point(self, shape: str, step: Step, seconds: float) -> Point:
        return Point(shape, self.model, self.sharding, self.options, step, self.path, seconds)

    def explain(self, point: Point) -> Finding:
        """The planner's own explanation; several engines on one machine share its rates."""
        precision = self.model.dtype
        reached = rates.rates(self.device, self.calibration, precision, "likely")
        if self.one_machine:
            reached = reached.shared_by(self.replicas)
        curves = self.calibration.curves if self.calibration is not None else ()
        return explaining.explain(point, self.device, reached, self.paths, curves, precision=precision)


def _only(kind: type[Any], said: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(kind)}
    return {name: value for name, value in said.items() if name in known}
