"""Pure parser for the state of a locked runtime. ValueError for output that names no runtime.

A complete.json that cannot be read marks nothing: the runtime is built anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facts.parse.report import Report


@dataclass(frozen=True)
class RuntimeReport(Report):
    """A runtime directory. `ray_version` is what is installed now, `versions` what the build wrote down."""

    name: str
    complete: bool
    python: str = ""
    ray_version: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def parse_runtime(lines: list[str]) -> RuntimeReport:
    """From `runtime DIRECTORY`, the JSON of complete.json and the `version = "..."` line of Ray."""
    directory, noted, ray_version = "", None, ""
    for line in lines:
        if line.startswith("runtime "):
            directory = line.removeprefix("runtime ").strip()
        elif line.lstrip().startswith("{"):
            noted = _noted(line)
        elif found := re.match(r"version\s*=\s*[\"']([^\"']+)[\"']", line):
            ray_version = found[1]
    if not directory:
        raise ValueError(f"runtime: unexpected output {lines[:3]!r}")
    name = directory.rsplit("/", 1)[-1]
    if noted is None:
        return RuntimeReport(name, False, ray_version=ray_version)
    versions = noted.get("versions")
    known = {package: str(version) for package, version in versions.items()} if isinstance(versions, dict) else {}
    return RuntimeReport(name, True, str(noted.get("python", "")), ray_version, known)


def _noted(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
