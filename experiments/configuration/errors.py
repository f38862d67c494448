"""What is wrong with a configuration: each problem with its file and line, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file and the line in it, from 1; `layer` is base, engine, model, suite, experiment or
    command line, of which the later wins. Line 0: no file has it."""

    layer: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"layer": self.layer, "file": self.file, "line": self.line}


class ConfigurationError(ExperimentError):
    """A configuration that cannot be run; `problems` are all that were found, each one line."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more: `cluster experiment show` lists them)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}" if problems else "no configuration")


def shown(path: Path) -> str:
    """A file's name for people: from the working directory on where it is below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
