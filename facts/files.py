"""State of managed files: digest, mode and owner, all in one command. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument
from facts.parse.cluster_state import FileState, parse_digests


class Digests(FactBase[dict[str, FileState]]):
    """Path -> FileState of those `paths` that are there and readable, and of every file below `directory`."""

    def command(self, paths: Sequence[str], directory: str = "") -> str:
        quoted = " ".join(argument(path) for path in paths)
        if directory:
            # What a Python left beside programs is no file of anybody's.
            quoted += f" $(find {argument(directory)} -type f -not -path '*/__pycache__/*' 2>/dev/null)"
        return (
            f"echo digests; stat -c 's %a %U %n' -- {quoted} 2>/dev/null; "
            f"sha256sum -- {quoted} 2>/dev/null | sed 's/^/h /'; true"
        )

    @fails_alone
    def process(self, output: list[str]) -> dict[str, FileState]:
        return parse_digests(output)
