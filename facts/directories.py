"""Owner and mode of directories. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument


class Directories(FactBase[dict[str, tuple[str, str]]]):
    """Path -> (owner, mode as four digits) of those `paths` that are directories."""

    def command(self, paths: Sequence[str]) -> str:
        quoted = " ".join(argument(path) for path in paths)
        return f"echo directories; stat -c '%F:%U:%a:%n' -- {quoted} 2>/dev/null; true"

    @fails_alone
    def process(self, output: list[str]) -> dict[str, tuple[str, str]]:
        rows = [line.split(":", 3) for line in output if line.startswith("directory:")]
        return {path: (owner, mode.rjust(4, "0")) for _, owner, mode, path in rows}


class Contents(FactBase[tuple[str, ...]]):
    """Names in the directory `path`, hidden ones too; empty where there is no such directory."""

    def command(self, path: str) -> str:
        return f"echo contents; ls -1A -- {argument(path)} 2>/dev/null; true"

    @fails_alone
    def process(self, output: list[str]) -> tuple[str, ...]:
        return tuple(output[1:])
