"""How the planner refuses. Pure."""

from __future__ import annotations


class PlanError(ValueError):
    """Input that cannot be planned with; one line with the thing, the value and the fix."""


class ConfigurationError(PlanError):
    """A config.json that does not describe a model this planner knows: names the file, the field and the fix."""


class MissingFigure(PlanError):
    """A number without which there would only be a guess: names the part, the figure and where to put it."""
