"""Judgements over clocks. Pure; seconds."""

from __future__ import annotations

from facts.health.result import PREPARE_AGAIN, CheckResult
from facts.parse.clock import ClockReport

MAXIMUM_SKEW_SECONDS = 2.0


def clock_checks(
    node: str,
    report: ClockReport,
    *,
    asked_at_seconds: float,
    answered_at_seconds: float,
    maximum_skew_seconds: float = MAXIMUM_SKEW_SECONDS,
) -> list[CheckResult]:
    """The node's clock against the reader's, and whether it is synchronised.

    The node read its clock between `asked_at_seconds` and `answered_at_seconds` of the reader's clock. A skew
    that this window could explain is None rather than False.
    """
    return [
        skew_check(node, report, asked_at_seconds, answered_at_seconds, maximum_skew_seconds),
        synchronised_check(node, report),
    ]


def skew_check(
    node: str,
    report: ClockReport,
    asked_at_seconds: float,
    answered_at_seconds: float,
    maximum_skew_seconds: float,
) -> CheckResult:
    """Whether the node's clock is within `maximum_skew_seconds` of the reader's.

    Raises `ValueError` when the answer came before the question.
    """
    if answered_at_seconds < asked_at_seconds:
        raise ValueError(f"{node}: answered at {answered_at_seconds} before asked at {asked_at_seconds}")
    # The skew lies somewhere between these two; the sign is the node's: positive is ahead.
    lowest, highest = report.epoch_seconds - answered_at_seconds, report.epoch_seconds - asked_at_seconds
    middle = (lowest + highest) / 2
    direction = "ahead" if middle > 0 else "behind"
    uncertainty = (highest - lowest) / 2
    detail = f"{node}: clock is {abs(middle):.2f} s {direction} (within {uncertainty:.2f} s)"
    limit = f"at most {maximum_skew_seconds:g} s"
    if -maximum_skew_seconds <= lowest and highest <= maximum_skew_seconds:
        return CheckResult("clock_skew", True, f"{detail}, {limit}")
    if lowest > maximum_skew_seconds or highest < -maximum_skew_seconds:
        return CheckResult("clock_skew", False, f"{detail}, {limit} is allowed", PREPARE_AGAIN)
    return CheckResult("clock_skew", None, f"{detail}; too slow an answer to judge {limit}", "ask again")


def synchronised_check(node: str, report: ClockReport) -> CheckResult:
    """Whether the node's clock follows a time source."""
    ok = {"yes": True, "no": False, "unknown": None}[report.synchronised]
    if ok:
        return CheckResult("clock_synchronised", True, f"{node}: clock is synchronised")
    detail = f"{node}: clock is not synchronised" if ok is False else f"{node}: {report.detail}"
    return CheckResult("clock_synchronised", ok, detail, PREPARE_AGAIN if ok is False else "")
