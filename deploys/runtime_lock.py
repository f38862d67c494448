"""The locked runtimes: which packages, and the name that a runtime gets from them.

A runtime is named by its kind and the hash of its lock and Python, so two nodes with the same name run the same bytes
of Ray, torch and vLLM. Reads the lock beside this project; everything else is pure.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deploys.compute_base.settings import Runtime
from deploys.settings import Settings, SettingsError

LOCKS = Path(__file__).parent / "compute_base" / "runtimes"


@dataclass(frozen=True)
class RuntimeLock:
    """A lock and what follows from it."""

    kind: str
    python: str
    path: Path
    name: str
    versions: dict[str, str]

    @property
    def ray_version(self) -> str:
        """Version of Ray that every node must run."""
        return self.versions["ray"]


def load(runtime: Runtime) -> RuntimeLock:
    """The lock of a runtime; SettingsError when the project has none for this kind."""
    path = LOCKS / f"{runtime.kind}.lock"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in LOCKS.glob("*.lock")))
        raise SettingsError(f"no locked runtime {runtime.kind!r} ({path} is missing); there are: {known}")
    text = path.read_text()
    digest = hashlib.sha256(f"{runtime.python}\n{text}".encode()).hexdigest()[:12]
    return RuntimeLock(runtime.kind, runtime.python, path, f"{runtime.kind}-{digest}", locked_versions(text))


def directory(settings: Settings) -> str:
    """Directory of the locked runtime on a host."""
    return f"{settings.directories.runtime}/{load(settings.runtime).name}"


@lru_cache(maxsize=8)  # a lock is asked for with every service of every host
def locked_versions(text: str) -> dict[str, str]:
    """Package -> version of a requirements lock as uv writes it."""
    pairs = re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE | re.IGNORECASE)
    return {name.lower(): version for name, version in pairs}
