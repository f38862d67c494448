"""Whether the dynamic linker finds a library. Reads only."""

from __future__ import annotations

import shlex

from pyinfra.api.facts import FactBase


class Library(FactBase[bool]):
    """True when `library`, such as libnuma.so.1, can be loaded."""

    def command(self, library: str) -> str:
        test = f"import ctypes; ctypes.CDLL({library!r})"
        return f"python3 -c {shlex.quote(test)} >/dev/null 2>&1 && echo yes || echo no"

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["yes"]
