"""A whole verification: facts of all hosts, the judgement, and the record that the web page shows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from facts.health.result import CheckResult
from operate import runner
from operate.clusters import ClusterInventory
from operate.errors import COULD_NOT_TELL, verdict
from operate.verification.ask import requests
from operate.verification.judge import judge
from operate.verification.record import leave, record


@dataclass(frozen=True)
class Verification:
    """Checks in their order, the exit status that they give, and how long it took.

    `not_left`: why the result could not be left for the web page, empty when it is there.
    """

    checks: list[CheckResult]
    status: int
    seconds: float
    not_left: str = ""

    @property
    def failed(self) -> int:
        """How many checks do not hold."""
        return sum(check.ok is False for check in self.checks)

    @property
    def unknown(self) -> int:
        """How many could not be told."""
        return sum(check.ok is None for check in self.checks)


def verify(cluster: ClusterInventory, *, full: bool = False) -> Verification:
    """Compare the running cluster with its inventory; changes nothing but the record for the web page."""
    started = time.monotonic()
    found = runner.observe(cluster, requests(cluster, full=full))
    checks = judge(cluster, found)
    seconds = round(time.monotonic() - started, 2)
    status = verdict(checks)
    if status == 0 and any(check.ok is None for check in checks):
        status = COULD_NOT_TELL
    not_left = ""
    if found[cluster.control.name].connected:
        holds = {0: True, COULD_NOT_TELL: None}.get(status, False)
        not_left = leave(cluster, record(checks, ok=holds, seconds=seconds))
    return Verification(checks, status, seconds, not_left)
