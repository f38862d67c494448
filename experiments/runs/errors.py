"""What ends a run before its end."""

from __future__ import annotations

from experiments.errors import ExperimentError


class RunError(ExperimentError):
    """A run that cannot begin or go on; one line with the thing, the value and the fix."""
