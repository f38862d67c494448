"""What one run comes to: a few positive numbers for each load step, of the requests of its steady part. Pure; seconds.

TTFT counts from when a request was due, so that a client or a server that lets requests wait cannot look better by it.
"""

from __future__ import annotations

import numpy as np

from experiments.verdict.requests import Floats, Requests

# Below this number of requests a percentile is not told: nothing lies beyond it.
LEAST = {"p50": 5, "p99": 100}


def figures(requests: Requests) -> dict[str, float]:
    """Of the counted requests of one step of one run: TTFT and TPOT, end to end, tokens a second. Seconds.

    What cannot be told (no whole request, too few for P99, answers of one token) is not in it.
    """
    whole = requests.where(requests.whole)
    found: dict[str, float] = {}
    if not len(whole):
        return found
    found |= _percentiles("ttft", whole.ttft_from_due)
    found |= _percentiles("tpot", whole.tpot[np.isfinite(whole.tpot)])
    found |= _percentiles("e2e", whole.ended - np.where(np.isfinite(whole.due), whole.due, whole.sent))
    seconds = float(whole.ended.max() - requests.sent.min())
    if seconds > 0 and whole.output_tokens.sum() > 0:
        found["output_tokens_per_second"] = float(whole.output_tokens.sum()) / seconds
    return found


def _percentiles(name: str, values: Floats) -> dict[str, float]:
    wanted = {"p50": 0.5, "p99": 0.99}
    return {
        f"{name}_{label}": float(np.quantile(values, place))
        for label, place in wanted.items()
        if values.size >= LEAST[label]
    }
