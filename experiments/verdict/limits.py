"""From where on something spoils a run. Pure; seconds and shares.

What matters is whether a figure that is reported can move. P99 moves when half a percent of the requests are touched,
so that is the share below which a spoiler is let pass; the lengths are those below which a busy but healthy machine
lies.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """All limits of the judgement; a suite may set others, and the verdict says with which it was made.

    - `percentile`: the highest one that is reported; it says how many requests a run has to have.
    - `touched_share`: of the requests of a step; what touches fewer is let pass.
    - `pause_seconds`: an event loop that was not run for so long was stopped, not slow.
    - `lag_seconds`, `lag_share`: P99 of the client's lag, at most the larger of this and this share of the median TTFT.
    - `send_lag_seconds`: P99 of (sent - due) where no pause explains it, with `lag_share` likewise.
    - `steal_share`, `throttled_share`, `other_work_share`: of the client machine's processor time.
    - `clock_step_seconds`: of the client's clock beside its monotonic one; `host_clock_step_seconds` of a host's, seen
      through its metrics and therefore less sharply.
    - `stall_seconds`, `stall_gaps`: all streams of a node silent for the larger of this and so many median gaps.
    - `kv_share`: of the KV cache, reached in more than one look in fifty.
    - `rate_share`: of the rate that was asked for, to be reached; likewise of the concurrency.
    - `trend_share`: by which TTFT or TPOT may differ between the first and the last quarter.
    - `cold_share`: by which the first request of a prefix may be slower than those after it; `cold_hits`: by how much
      the share of prefix hits may rise.
    - `recovery_seconds`: after a declared fault healed, what happens on the server is still the fault's.
    """

    percentile: float = 0.99
    touched_share: float = 0.005
    pause_seconds: float = 0.15
    lag_seconds: float = 0.015
    lag_share: float = 0.1
    send_lag_seconds: float = 0.03
    steal_share: float = 0.05
    throttled_share: float = 0.02
    other_work_share: float = 0.5
    clock_step_seconds: float = 0.05
    host_clock_step_seconds: float = 0.5
    stall_seconds: float = 0.5
    stall_gaps: float = 20.0
    kv_share: float = 0.97
    rate_share: float = 0.95
    trend_share: float = 0.15
    cold_share: float = 0.25
    cold_hits: float = 0.1
    recovery_seconds: float = 120.0

    @property
    def least_requests(self) -> int:
        """Below this number nothing lies beyond the percentile."""
        return round(1 / (1 - self.percentile))
