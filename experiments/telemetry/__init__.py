"""What is seen while an experiment runs: `live` observers on every host, and `collect`, which makes tables of it."""

import importlib
from typing import Any

_PLACES = {"live": "observers", "Live": "observers", "collect": "collecting", "Collected": "collecting"}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Loaded when asked for: this package goes to hosts too, around its programs, and there is nothing else of it."""
    if name not in _PLACES:
        raise AttributeError(f"experiments.telemetry has no {name!r}")
    return getattr(importlib.import_module(f"experiments.telemetry.{_PLACES[name]}"), name)
