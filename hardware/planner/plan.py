"""The plan: every placement with its memory and its predictions, the one to take, and why the others lost. Pure.

The recommendation has the most tokens a second at the highest concurrency that was asked for, among the placements that
fit, depend on no optional link, and that an inventory has words for. Within `TIE` of that, the one whose single user
waits least for the next token. Of models that are not vLLM's, or whose layers are not known, the fit alone is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hardware.model import Cluster
from hardware.planner import kernels
from hardware.planner.architecture import Model, Sizes
from hardware.planner.calibration import Calibration, PastError
from hardware.planner.errors import MissingFigure, PlanError
from hardware.planner.fit import FitJudgement, dtype_of, fit
from hardware.planner.kernels import Support
from hardware.planner.memory import RankMemory
from hardware.planner.options import Options
from hardware.planner.placement import Hardware, Placement, hardware_of, placements, said_as
from hardware.planner.prediction import Prediction, Workload, predict, spread
from hardware.planner.quantisation_methods import DEPRECATED
from hardware.planner.rates import memory_size
from hardware.planner.served import VLLM, Mode, ServedModel, SpanBy
from hardware.planner.tensors import active_parameter_count, parameter_count

TIE = 0.03
UNTIMED = "its speed is not told: its layers are not known here, or its engine is not vLLM"


@dataclass(frozen=True)
class Candidate:
    """One placement. `refusal` says why it does not fit or cannot be predicted; then there are no predictions.

    `said` are an inventory's words for it, None where it has none.
    """

    placement: Placement
    judgement: FitJudgement
    predictions: tuple[Prediction, ...]
    refusal: str
    said: tuple[Mode, SpanBy] | None = None
    lost: str = ""

    @property
    def memory(self) -> tuple[RankMemory, ...]:
        """Each stage's memory; empty where the judgement did not come to it."""
        return self.judgement.ranks if self.judgement.ok is not None else ()

    @property
    def fits(self) -> bool:
        """Whether the engine would start."""
        return self.judgement.ok is True

    @property
    def optional_link(self) -> bool:
        """Whether it depends on a link that may be down without the cluster failing."""
        return self.placement.link is not None and self.placement.link.optional


@dataclass(frozen=True)
class Plan:
    """All that can be said about a model on a cluster before anything runs."""

    cluster: str
    served: ServedModel
    model: Model | Sizes
    parameters: int
    active_parameters: int
    hardware: Hardware
    options: Options
    workload: Workload
    support: Support
    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...]
    recommended: Candidate | None
    interval_source: str
    calibrated: bool
    past_error: PastError | None = None

    @property
    def timed(self) -> Model | None:
        """The model where its speed can be told: vLLM's, with layers that are known."""
        return self.model if isinstance(self.model, Model) and self.served.engine in VLLM else None

    @property
    def refusal(self) -> str:
        """Why there is no recommendation; empty when there is one."""
        if self.recommended is not None:
            return ""
        if not self.support.ok:
            return f"{self.hardware.device.name}: {'; '.join(self.support.reasons)} ({self.support.source})"
        unknown = [c.refusal for c in self.candidates if c.judgement.ok is not False]
        if unknown:
            return unknown[0]
        nearest = min(self.candidates, key=lambda c: max((rank.short_bytes for rank in c.memory), default=float("inf")))
        return f"nothing fits; the nearest is {nearest.placement.name}: {nearest.refusal}"


def make(
    cluster: Cluster,
    planned: Model | ServedModel,
    workload: Workload,
    options: Options,
    calibration: Calibration | None = None,
) -> Plan:
    """Plan a model on a cluster.

    Raises PlanError for input that cannot be planned with. What does not fit, has no kernels or cannot be predicted is
    in the plan, with its reason.
    """
    hardware = hardware_of(cluster)
    served = ServedModel(planned.name, planned) if isinstance(planned, Model) else planned
    model = served.shape
    if model is None:
        raise PlanError(f"{served.name}: nobody knows its size before it is fetched; give its directory or config.json")
    timed = isinstance(model, Model) and served.engine in VLLM
    length = options.max_model_len or min(served.length or 8192, 8192)
    if timed and options.max_model_len is None:
        length = max(workload.length_tokens, length)
    if timed and workload.length_tokens > length:
        raise PlanError(
            f"prompt {workload.prompt_tokens} and output {workload.output_tokens} tokens are more than the context of "
            f"{length}; give --context {workload.length_tokens} or shorter ones"
        )
    if length > (longest := model.longest(hardware.place.kind)):
        raise PlanError(f"context {length} is more than the {longest} tokens of {model.name}")
    options = replace(options, max_model_len=length)
    if served.dtypes.get(hardware.place.kind) and options.dtype is None:
        options = replace(options, dtype=dtype_of(served, hardware.place))
    support = _support(served, hardware, options)
    eager = options.enforce_eager or ("enforce_eager", True) in support.arguments
    options = replace(options, dtype=support.dtype, enforce_eager=eager)
    # The model in the type that the engine will hold it in.
    held = replace(model, dtype=support.dtype)
    found, left_out = placements(hardware, held)
    candidates = tuple(
        _candidate(served, held, hardware, placement, workload, options, support, calibration) for placement in found
    )
    best = _best(candidates) if support.ok else None
    return Plan(
        cluster=cluster.name,
        served=served,
        model=held,
        parameters=parameter_count(model) if isinstance(model, Model) else model.parameters,
        active_parameters=active_parameter_count(model) if isinstance(model, Model) else model.parameters,
        hardware=hardware,
        options=options,
        workload=workload,
        support=support,
        candidates=tuple(
            candidate if candidate is best else replace(candidate, lost=_lost(candidate, best))
            for candidate in candidates
        ),
        left_out=left_out,
        recommended=best,
        interval_source=spread(calibration)[2],
        calibrated=calibration is not None,
        past_error=calibration.past_error() if calibration is not None else None,
    )


def _support(served: ServedModel, hardware: Hardware, options: Options) -> Support:
    """Kernels of vLLM's for it; another engine brings its own."""
    device, shape = hardware.device, served.shape
    dtype = options.dtype or (shape.dtype if shape else "float32")
    if served.engine not in VLLM or shape is None:
        return Support(True, served.engine, dtype, dtype, (), "its own engine")
    return kernels.support_of(device.runtime_kind, device.architecture, shape.quantisation, dtype)


def _candidate(
    served: ServedModel,
    model: Model | Sizes,
    hardware: Hardware,
    placement: Placement,
    workload: Workload,
    options: Options,
    support: Support,
    calibration: Calibration | None,
) -> Candidate:
    place = replace(hardware.place, sharing=hardware.sharing(placement.replicas))
    judged = fit(served, place, placement.sharding, options, calibration)
    said = said_as(served, hardware, placement)
    if judged.ok is False:
        return Candidate(placement, judged, (), judged.detail, said)
    try:
        memory_size(hardware.device, calibration)
        if not isinstance(model, Model) or served.engine not in VLLM:
            return Candidate(placement, judged, (), "", said)
        predictions = predict(
            model, hardware, placement, judged.ranks, workload, options, support.precision, calibration
        )
    except MissingFigure as error:
        return Candidate(placement, judged, (), str(error), said)
    return Candidate(placement, judged, predictions, "", said)


def _best(candidates: tuple[Candidate, ...]) -> Candidate | None:
    usable = [candidate for candidate in candidates if candidate.predictions]
    usable = [candidate for candidate in usable if candidate.said is not None] or usable
    usable = [candidate for candidate in usable if not candidate.optional_link] or usable
    if not usable:
        return next((candidate for candidate in candidates if candidate.fits and not candidate.refusal), None)
    most = max(_speed(candidate) for candidate in usable)
    near = [candidate for candidate in usable if _speed(candidate) >= most * (1 - TIE)]
    return min(near, key=lambda candidate: candidate.predictions[0].itl_seconds.likely)


def _speed(candidate: Candidate) -> float:
    return candidate.predictions[-1].tokens_per_second.likely


def _lost(candidate: Candidate, best: Candidate | None) -> str:
    if candidate.refusal:
        return candidate.refusal
    if best is None or not candidate.predictions or not best.predictions:
        return ""
    mine, theirs = candidate.predictions[-1], best.predictions[-1]
    users = "1 user" if mine.concurrency == 1 else f"{mine.concurrency} users"
    said = (
        f"{mine.tokens_per_second.likely:.1f} tokens/s against {theirs.tokens_per_second.likely:.1f} at {users}, "
        f"next token {mine.itl_seconds.likely * 1e3:.1f} ms against "
        f"{theirs.itl_seconds.likely * 1e3:.1f}; {mine.limit} takes {mine.limit_share:.0%}"
    )
    if candidate.optional_link and _speed(candidate) > _speed(best):
        return f"faster ({said}), but its link is optional: it may be down"
    if candidate.said is None and best.said is not None and _speed(candidate) > _speed(best):
        return f"faster ({said}), but an inventory has no words for it"
    if _overlap(candidate, best):
        said += "; the intervals overlap: calibrate before you rely on this order"
    return said


def _overlap(one: Candidate, other: Candidate) -> bool:
    first, second = one.predictions[-1].tokens_per_second, other.predictions[-1].tokens_per_second
    return first.low <= second.high and second.low <= first.high


def engine_arguments(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    """Arguments of the engine for a placement, by vLLM's names; none for another engine."""
    if plan.served.engine not in VLLM:
        return {}
    sharding = candidate.placement.sharding
    arguments: dict[str, Any] = {
        "tensor_parallel_size": sharding.tensor,
        "pipeline_parallel_size": sharding.pipeline,
    }
    if sharding.data > 1:
        arguments["data_parallel_size"] = sharding.data
    if sharding.expert_parallel:
        arguments["enable_expert_parallel"] = True
    arguments["dtype"] = plan.options.dtype
    arguments["max_model_len"] = plan.options.max_model_len
    if plan.options.kv_cache_memory_bytes is not None:
        arguments["kv_cache_memory_bytes"] = plan.options.kv_cache_memory_bytes
    else:
        arguments["gpu_memory_utilization"] = plan.options.gpu_memory_utilization
    if plan.options.max_num_seqs is not None:
        arguments["max_num_seqs"] = plan.options.max_num_seqs
    if plan.options.max_num_batched_tokens is not None:
        arguments["max_num_batched_tokens"] = plan.options.max_num_batched_tokens
    if plan.options.enforce_eager:
        arguments["enforce_eager"] = True
    if plan.model.quantisation.origin in ("awq", "gptq", "fp8"):
        arguments["quantization"] = plan.model.quantisation.origin
    if plan.model.quantisation.origin in DEPRECATED:
        arguments["allow_deprecated_quantization"] = True
    return arguments
