"""Records in the shape of `vllm bench serve --save-result --save-detailed`, for whatever reads that tool's results.

Pure. Names and meanings are those of vLLM 0.32: seconds in the lists, milliseconds in the figures, end to end up to the
last token, a request that failed with zeros. Answers are not kept, so each of `generated_texts` is empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from experiments.load.arrivals import Arrivals
from experiments.load.objectives import Objectives, met
from experiments.load.records import RequestRecord

SHARES = (50, 90, 99)


def as_vllm_bench(
    records: Sequence[RequestRecord],
    *,
    model: str,
    date: str,
    arrivals: Arrivals | None = None,
    concurrent: int = 0,
    objectives: Objectives | None = None,
) -> dict[str, Any]:
    """One step's records but for the warm-up; `date` as in 20261130-150000. `arrivals` None: a closed loop."""
    ours = sorted((record for record in records if not record.warm_up), key=lambda record: record.sent)
    good = [record for record in ours if record.good]
    begun = min((record.sent for record in ours), default=0.0)
    seconds = max((record.ended for record in ours), default=0.0) - begun
    prompts, tokens = sum(record.prompt_tokens for record in good), sum(record.output_tokens for record in good)
    burstiness = 1.0 if arrivals is None else arrivals.burstiness
    within = sum(met(record, objectives) for record in ours) if objectives else None
    return {
        "date": date,
        "endpoint_type": "openai-chat",
        "backend": "openai-chat",
        "label": None,
        "model_id": model,
        "tokenizer_id": None,
        "num_prompts": len(ours),
        "request_rate": "inf" if arrivals is None else arrivals.rate,
        # JSON has no infinity; the tool's own writer does not mind, its readers may.
        "burstiness": "inf" if math.isinf(burstiness) else burstiness,
        "max_concurrency": concurrent or None,
        "duration": seconds,
        "completed": len(good),
        "failed": len(ours) - len(good),
        "total_input_tokens": prompts,
        "total_output_tokens": tokens,
        "request_throughput": _rate(len(good), seconds),
        "request_goodput": None if within is None else _rate(within, seconds),
        "output_throughput": _rate(tokens, seconds),
        "total_token_throughput": _rate(prompts + tokens, seconds),
        "input_lens": [record.prompt_tokens for record in ours],
        "output_lens": [record.output_tokens if record.good else 0 for record in ours],
        "ttfts": [(record.ttft or 0.0) if record.good else 0.0 for record in ours],
        "itls": [list(record.gaps) if record.good else [] for record in ours],
        "latencies": [_latency(record) if record.good else 0.0 for record in ours],
        "start_times": [record.sent for record in ours],
        "queue_times": [0.0 if record.due is None else max(record.sent - record.due, 0.0) for record in ours],
        "generated_texts": ["" for _ in ours],
        "errors": ["" if record.good else f"{record.kind}: {record.detail}" for record in ours],
        **_most_in_a_second(good, begun, seconds),
        "rtfx": 0.0,
        **_figures("ttft", [record.ttft for record in good]),
        **_figures("tpot", [_tpot(record) for record in good]),
        **_figures("itl", [gap for record in good for gap in record.gaps]),
        **_figures("e2el", [_latency(record) for record in good]),
    }


def _latency(record: RequestRecord) -> float:
    """Up to the last token; an answer that was not streamed has none, and ends as a whole."""
    return (record.ended if record.last_token is None else record.last_token) - record.sent


def _tpot(record: RequestRecord) -> float | None:
    if record.output_tokens < 2:
        return None
    return (_latency(record) - (record.ttft or 0.0)) / (record.output_tokens - 1)


def _rate(number: float, seconds: float) -> float:
    return number / seconds if seconds else 0.0


def _most_in_a_second(good: Sequence[RequestRecord], begun: float, seconds: float) -> dict[str, float]:
    """Most tokens that came in one second, and most requests that were under way in one, counted from the first."""
    tokens, requests = numpy.zeros(int(seconds) + 2), numpy.zeros(int(seconds) + 2)
    for record in good:
        for at in record.token_times:
            tokens[int(at - begun)] += 1
        requests[int(record.sent - begun) : int(record.sent + _latency(record) - begun) + 1] += 1
    return {"max_output_tokens_per_s": float(tokens.max()), "max_concurrent_requests": int(requests.max())}


def _figures(name: str, seconds: Sequence[float | None]) -> dict[str, float]:
    values = numpy.array([value for value in seconds if value is not None] or [0.0]) * 1000
    found = {"mean": values.mean(), "median": numpy.median(values), "std": values.std()}
    found |= {f"p{share}": numpy.percentile(values, share) for share in SHARES}
    return {f"{what}_{name}_ms": float(value) for what, value in found.items()}
