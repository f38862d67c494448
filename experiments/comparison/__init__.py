"""Two things compared, with the noise of the cluster they ran on. Pure but for `bundles`, which reads."""

from experiments.comparison.analysis import compare_runs, smallest_effects
from experiments.comparison.bundles import compare
from experiments.comparison.design import Run, Turn, take, turns
from experiments.comparison.result import Comparison, Difference

__all__ = ["Comparison", "Difference", "Run", "Turn", "compare", "compare_runs", "smallest_effects", "take", "turns"]
