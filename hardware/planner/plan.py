"""The plan: every placement with its memory and its predictions, the one to take, and why the others lost. Pure.

The recommendation has the most tokens a second at the highest concurrency that was asked for, among the placements that
fit and depend on no optional link. Within `TIE` of that, the one whose single user waits least for the next token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hardware.model import GIB, Cluster
from hardware.planner import kernels
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration, PastError
from hardware.planner.errors import MissingFigure, PlanError
from hardware.planner.kernels import Support
from hardware.planner.memory import RankMemory, rank_memory
from hardware.planner.options import Options
from hardware.planner.placement import Hardware, Placement, hardware_of, placements
from hardware.planner.prediction import Prediction, Workload, predict, spread
from hardware.planner.tensors import active_parameter_count, parameter_count

TIE = 0.03


@dataclass(frozen=True)
class Candidate:
    """One placement. `refusal` says why it does not fit or cannot be predicted; then there are no predictions."""

    placement: Placement
    memory: tuple[RankMemory, ...]
    predictions: tuple[Prediction, ...]
    refusal: str
    lost: str = ""

    @property
    def fits(self) -> bool:
        """Whether vLLM would start it."""
        return bool(self.memory) and all(rank.fits for rank in self.memory)

    @property
    def optional_link(self) -> bool:
        """Whether it depends on a link that may be down without the cluster failing."""
        return self.placement.link is not None and self.placement.link.optional


@dataclass(frozen=True)
class Plan:
    """All that can be said about a model on a cluster before anything runs."""

    cluster: str
    model: Model
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
    def refusal(self) -> str:
        """Why there is no recommendation; empty when there is one."""
        if self.recommended is not None:
            return ""
        if not self.support.ok:
            return f"{self.hardware.device.name}: {'; '.join(self.support.reasons)} ({self.support.source})"
        unknown = [c.refusal for c in self.candidates if c.refusal and (c.fits or not c.memory)]
        if unknown:
            return unknown[0]
        nearest = min(self.candidates, key=lambda c: max(rank.short_bytes for rank in c.memory))
        return f"nothing fits; the nearest is {nearest.placement.name}: {nearest.refusal}"


def make(
    cluster: Cluster,
    model: Model,
    workload: Workload,
    options: Options,
    calibration: Calibration | None = None,
) -> Plan:
    """Plan a model on a cluster.

    Raises PlanError for input that cannot be planned with. What does not fit, has no kernels or cannot be predicted is
    in the plan, with its reason.
    """
    hardware = hardware_of(cluster)
    length = options.max_model_len or max(workload.length_tokens, min(model.maximum_length, 8192))
    if workload.length_tokens > length:
        raise PlanError(
            f"prompt {workload.prompt_tokens} and output {workload.output_tokens} tokens are more than the context of "
            f"{length}; give --context {workload.length_tokens} or shorter ones"
        )
    if length > model.maximum_length:
        raise PlanError(f"context {length} is more than the {model.maximum_length} tokens of {model.name}")
    options = replace(options, max_model_len=length)
    support = kernels.support(hardware.device, model, options)
    eager = options.enforce_eager or ("enforce_eager", True) in support.arguments
    options = replace(options, dtype=support.dtype, enforce_eager=eager)
    # The model in the type that the engine will hold it in.
    served = replace(model, dtype=support.dtype)
    found, left_out = placements(hardware, served)
    candidates = tuple(
        _candidate(served, hardware, placement, workload, options, support, calibration) for placement in found
    )
    best = _best(candidates) if support.ok else None
    return Plan(
        cluster=cluster.name,
        model=served,
        parameters=parameter_count(model),
        active_parameters=active_parameter_count(model),
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


def _candidate(
    model: Model,
    hardware: Hardware,
    placement: Placement,
    workload: Workload,
    options: Options,
    support: Support,
    calibration: Calibration | None,
) -> Candidate:
    try:
        memory = tuple(
            rank_memory(model, placement.sharding, stage, hardware.device, options, calibration)
            for stage in range(placement.sharding.pipeline)
        )
    except MissingFigure as error:
        return Candidate(placement, (), (), str(error))
    fullest = max(memory, key=lambda rank: rank.short_bytes)
    if not fullest.fits:
        return Candidate(placement, memory, (), _short(fullest))
    if not support.ok:
        return Candidate(placement, memory, (), "; ".join(support.reasons))
    try:
        predictions = predict(model, hardware, placement, memory, workload, options, support.precision, calibration)
    except MissingFigure as error:
        return Candidate(placement, memory, (), str(error))
    return Candidate(placement, memory, predictions, "")


def _short(rank: RankMemory) -> str:
    where = f"stage {rank.stage}: " if rank.stage else ""
    return (
        f"{where}{rank.short_bytes / GIB:.2f} GiB short: {rank.budget_bytes / GIB:.2f} GiB may be used, weights take "
        f"{rank.weights_bytes / GIB:.2f}, activations {rank.activation_bytes / GIB:.2f}, the runtime "
        f"{(rank.context_bytes + rank.graph_bytes + rank.communicator_bytes) / GIB:.2f}, one sequence of "
        f"{rank.length_tokens} tokens {rank.sequence_bytes / GIB:.2f}"
    )


def _best(candidates: tuple[Candidate, ...]) -> Candidate | None:
    usable = [candidate for candidate in candidates if candidate.predictions and not candidate.optional_link]
    usable = usable or [candidate for candidate in candidates if candidate.predictions]
    if not usable:
        return None
    most = max(_speed(candidate) for candidate in usable)
    near = [candidate for candidate in usable if _speed(candidate) >= most * (1 - TIE)]
    return min(near, key=lambda candidate: candidate.predictions[0].itl_seconds.likely)


def _speed(candidate: Candidate) -> float:
    return candidate.predictions[-1].tokens_per_second.likely


def _lost(candidate: Candidate, best: Candidate | None) -> str:
    if candidate.refusal:
        return candidate.refusal
    if best is None:
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
    if _overlap(candidate, best):
        said += "; the intervals overlap: calibrate before you rely on this order"
    return said


def _overlap(one: Candidate, other: Candidate) -> bool:
    first, second = one.predictions[-1].tokens_per_second, other.predictions[-1].tokens_per_second
    return first.low <= second.high and second.low <= first.high


def engine_arguments(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    """Arguments of the engine for a placement, by vLLM's names."""
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
    return arguments


def serving(candidate: Candidate) -> str:
    """The same placement as an inventory says it (inventories.composition.compose.Serving), where one can."""
    sharding, nodes = candidate.placement.sharding, candidate.placement.replicas
    if candidate.placement.link is None and sharding.pipeline == 1 and sharding.data == 1:
        return f'mode="replicas", replicas={nodes}'
    if sharding.data > 1 or nodes > 1:
        return ""
    return f'mode="span", span_by="{"pipeline" if sharding.pipeline > 1 else "tensor"}"'
