"""What stands in the way of a measurement."""

from __future__ import annotations


class ExperimentError(Exception):
    """Nothing could be measured; one line with the thing, the value and the fix."""
