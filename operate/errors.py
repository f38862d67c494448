"""How a command fails: one line that says what, where and how to mend it.

Exit 1: it does not hold. Exit 2: could not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from facts.health.result import CheckResult

HOLDS, DOES_NOT_HOLD, COULD_NOT_TELL, INTERRUPTED = 0, 1, 2, 130


class OperatorError(Exception):
    """Shown as one line, without a traceback. `exit_code` 2 unless something was found not to hold."""

    def __init__(self, message: str, *, exit_code: int = COULD_NOT_TELL) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class NoHostsError(OperatorError):
    """A cluster whose hosts are yet to be made; the message says how."""


def verdict(checks: Sequence[CheckResult]) -> int:
    """Exit status of a list of checks."""
    if any(check.ok is False for check in checks):
        return DOES_NOT_HOLD
    return HOLDS if any(check.ok for check in checks) else COULD_NOT_TELL
