"""hardware/ imports the standard library and itself only, read from its syntax trees without importing it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HARDWARE = Path(__file__).parents[3] / "hardware"
FILES = sorted(HARDWARE.rglob("*.py"))
ALLOWED = sys.stdlib_module_names | {"hardware"}
# Standard library, but not pure: a bill of materials reads no network, starts no process and keeps no clock.
IMPURE = {
    "asyncio",
    "http",
    "multiprocessing",
    "os",
    "random",
    "socket",
    "subprocess",
    "threading",
    "time",
    "urllib",
}


def imported_packages(source: str) -> Iterator[str]:
    """The top-level package of every import, wherever in the file it stands; relative ones are `hardware`."""
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            for name in statement.names:
                yield name.name.partition(".")[0]
        elif isinstance(statement, ast.ImportFrom):
            yield "hardware" if statement.level else (statement.module or "").partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HARDWARE)))
def test_imports_are_of_the_standard_library_or_hardware(file: Path) -> None:
    packages = set(imported_packages(file.read_text()))
    assert packages - ALLOWED == set(), f"{file.name}: hardware/ is the standard library and itself only"
    assert packages & IMPURE == set(), f"{file.name}: hardware/ is pure"


def test_the_walk_sees_the_files() -> None:
    assert {"model.py", "v0_1.py", "h200.py"} <= {file.name for file in FILES}


def test_the_walk_sees_imports_inside_functions() -> None:
    source = "import ast, click\ndef f():\n    from facts.base import x\nfrom . import y\n"
    assert sorted(imported_packages(source)) == ["ast", "click", "facts", "hardware"]
