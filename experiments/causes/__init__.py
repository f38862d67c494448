"""Root causes from telemetry alone: which node, which kind of fault; or "nothing", or "unknown"."""

from __future__ import annotations

from experiments.causes.ranking import FOUND, Candidate, Ranking, rank

__all__ = ["FOUND", "Candidate", "Ranking", "rank"]
