"""What a fault cost: the time until an engine served again, in five parts, and the requests that missed their SLO."""

from experiments.recovery.budgets import Budget, Cost, Objective, budget
from experiments.recovery.marks import Mark, collect

__all__ = ["Budget", "Cost", "Mark", "Objective", "budget", "collect"]
