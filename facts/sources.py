"""A program of this project with what it imports: as files of a tree, or as one text that is sent to a host.

Programs stand in `programs/` folders, under the same dotted name here and on the hosts. They import the standard
library, what the host's Python has, and other programs; which those are is read from their imports, so that nothing has
to be listed twice. Reads this project's files; pure otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

_LOADER = """import sys, types
for name, package, text in SOURCES:
    module = types.ModuleType(name)
    if package:
        module.__path__ = []
    sys.modules[name] = module
    exec(compile(text, name, "exec"), module.__dict__)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
exec(compile(PROGRAM, sys.argv[0], "exec"))
"""


@cache
def modules(*programs: str) -> dict[str, Path]:
    """Dotted name -> file: `programs`, what they import of this project, and the packages around them.

    A module stands behind what it imports. ValueError for an import of this project that is no program.
    """
    found: dict[str, Path] = {}
    for program in programs:
        _follow(program, found, ())
    return found


@cache
def text(program: str) -> str:
    """The program in one text for `python -c` or standard input: its own, where it imports no other program."""
    needed = modules(program)
    own = needed[program].read_text()
    others = [name for name, file in needed.items() if name != program and file.name != "__init__.py"]
    if not others:
        return own
    sources = [
        (name, package, "" if package else file.read_text())
        for name, file in needed.items()
        for package in [file.name == "__init__.py"]
        if name != program
    ]
    return f"SOURCES = {sources!r}\nPROGRAM = {own!r}\n{_LOADER}"


def _follow(name: str, found: dict[str, Path], way: tuple[str, ...]) -> None:
    if name in found or name in way:
        return
    file = _file(name)
    if file is None:
        raise ValueError(f"{name} is no module of this project")
    if file.name != "__init__.py" and "programs" not in name.split("."):
        raise ValueError(f"{' imports '.join((*way[-1:], name))}, which is no program and not on the hosts")
    package = name.rpartition(".")[0]
    if package:
        _follow(package, found, (*way, name))
    for imported in _imports(file):
        _follow(imported, found, (*way, name))
    found[name] = file


def _imports(file: Path) -> Iterator[str]:
    """Modules of this project that a file imports, wherever in it the statement stands."""
    for statement in ast.walk(ast.parse(file.read_text())):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            inside = [f"{statement.module}.{alias.name}" for alias in statement.names]
            names = [name if _file(name) else statement.module for name in inside]
        else:
            continue
        yield from (name for name in names if _file(name))


def _file(name: str) -> Path | None:
    place = REPOSITORY.joinpath(*name.split("."))
    for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
