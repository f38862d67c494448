"""Memory, shared memory and disk space of the host. Reads /proc/meminfo and `df`; needs no root."""

from __future__ import annotations

from pyinfra.api.exceptions import FactValueError
from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument, join, section
from facts.parse.memory import (
    SHARED_MEMORY_PATH,
    FilesystemReport,
    MemoryReport,
    parse_filesystem,
    parse_memory,
)


def _measure(path: str) -> str:
    # A path that does not exist yet is measured where it would be made: at its nearest parent.
    nearest = f'at={argument(path)}; while [ ! -e "$at" ]; do at=${{at%/*}}; at=${{at:-/}}; done'
    return join(section("filesystem", f'{nearest}; df -P -T -B1 -- "$at" 2>&1'))


class Memory(FactBase[MemoryReport]):
    """`MemoryReport`: total, available and swap, in bytes."""

    def command(self) -> str:
        return join(section("meminfo", "cat /proc/meminfo 2>&1"))

    @fails_alone
    def process(self, output: list[str]) -> MemoryReport:
        return parse_memory(output)


class SharedMemory(FactBase[FilesystemReport]):
    """`FilesystemReport` of /dev/shm, where Ray keeps its object store."""

    def command(self) -> str:
        return _measure(SHARED_MEMORY_PATH)

    @fails_alone
    def process(self, output: list[str]) -> FilesystemReport:
        return parse_filesystem(output)


class Disk(FactBase[FilesystemReport]):
    """`FilesystemReport` of the file system that holds `path`, an absolute path that need not exist yet.

    Raises `FactValueError` for a relative path.
    """

    def command(self, path: str) -> str:
        if not path.startswith("/"):
            raise FactValueError(f"{path!r} is not an absolute path")
        return _measure(path)

    @fails_alone
    def process(self, output: list[str]) -> FilesystemReport:
        return parse_filesystem(output)
