"""State of managed files: digest, mode and owner, all in one command. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument
from facts.parse.cluster_state import FileState, parse_digests


class Digests(FactBase[dict[str, FileState]]):
    """Path -> FileState of those `paths` that are there and readable."""

    def command(self, paths: Sequence[str]) -> str:
        quoted = " ".join(argument(path) for path in paths)
        return (
            f"echo digests; stat -c 's %a %U %n' -- {quoted} 2>/dev/null; "
            f"sha256sum -- {quoted} 2>/dev/null | sed 's/^/h /'; true"
        )

    @fails_alone
    def process(self, output: list[str]) -> dict[str, FileState]:
        return parse_digests(output)
