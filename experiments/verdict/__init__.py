"""A run judges itself from both ends: VALID, or INVALID with the cause and what to do. Pure but for `watch`."""

from experiments.verdict.limits import Limits
from experiments.verdict.server import ServerSeen, from_rows
from experiments.verdict.verdict import INVALID, VALID, Verdict, judge
from experiments.verdict.watch import Watched, watching

__all__ = ["INVALID", "VALID", "Limits", "ServerSeen", "Verdict", "Watched", "from_rows", "judge", "watching"]
