"""Programs of the hosts as modules: they are no part of a package, because a host has each file alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

_DEPLOYS = Path(__file__).parents[1] / "deploys"


def load(program: str) -> ModuleType:
    """A fresh module of `program`, its path below deploys/, such as compute_base/remote/cluster_wait.py."""
    spec = importlib.util.spec_from_file_location(Path(program).stem, _DEPLOYS / program)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
