"""The result of a check, as data."""

from __future__ import annotations

from dataclasses import dataclass

from facts.parse.report import Report

PREPARE_AGAIN = 'run "cluster up --only compute_base"'


@dataclass(frozen=True)
class CheckResult(Report):
    """One judgement.

    - `name`: what was judged, stable across hosts and versions ("gpu_driver").
    - `ok`: True it holds, False it does not, None it could not be told.
    - `detail`: the thing and the value ("compute1: driver 535 is older than 550").
    - `remedy`: what to do; "" when there is nothing to do.
    """

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""
