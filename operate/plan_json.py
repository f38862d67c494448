"""A plan as plain data, for `--json` and for what is kept of a run. Pure. Bytes, seconds, tokens a second."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hardware.planner import plan, serving_line
from hardware.planner.links import LinkRow
from hardware.planner.plan import Candidate, Plan
from hardware.planner.prediction import Prediction


def to_json(made: Plan, over: tuple[LinkRow, ...]) -> dict[str, Any]:
    """The plan as plain data: bytes, seconds, tokens a second. Keys are stable."""
    return {
        "cluster": made.cluster,
        "model": made.model.name,
        "parameters": made.parameters,
        "active_parameters": made.active_parameters,
        "kv_cache_bytes_per_token": made.model.kv_cache_bytes_per_token(),
        "kernels": {
            "ok": made.support.ok,
            "kernel": made.support.kernel,
            "dtype": made.support.dtype,
            "reasons": list(made.support.reasons),
            "source": made.support.source,
        },
        "workload": asdict(made.workload),
        "calibrated": made.calibrated,
        "interval_source": made.interval_source,
        "past_error": asdict(made.past_error) if made.past_error else None,
        "recommended": made.recommended.placement.name if made.recommended else None,
        "serving": serving_line.serving(made, made.recommended) if made.recommended else "",
        "refusal": made.refusal,
        "left_out": list(made.left_out),
        "placements": [_candidate(made, candidate) for candidate in made.candidates],
        "links": [
            {
                "link": row.link,
                "in_profile": not row.assumed,
                "engine": str(row.sharding),
                "predictions": [_prediction(entry) for entry in row.predictions],
            }
            for row in over
        ],
    }


def _candidate(made: Plan, candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.placement.name,
        "replicas": candidate.placement.replicas,
        "fits": candidate.fits,
        "refusal": candidate.refusal,
        "lost": candidate.lost,
        "optional_link": candidate.optional_link,
        "memory": [
            {**asdict(rank), "short_bytes": rank.short_bytes, "kv_tokens": rank.kv_tokens} for rank in candidate.memory
        ],
        "engine_arguments": plan.engine_arguments(made, candidate),
        "predictions": [_prediction(entry) for entry in candidate.predictions],
    }


def _prediction(entry: Prediction) -> dict[str, Any]:
    return {
        "concurrency": entry.concurrency,
        "running_per_engine": entry.running,
        "waiting": entry.waiting,
        "ttft_seconds": asdict(entry.ttft_seconds),
        "itl_seconds": asdict(entry.itl_seconds),
        "tokens_per_second": asdict(entry.tokens_per_second),
        "limit": entry.limit,
        "limit_share": entry.limit_share,
        "decode_seconds_by_limit": entry.decode.by_limit(),
        "prefill_seconds_by_limit": entry.prefill.by_limit(),
    }
