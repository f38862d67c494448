"""This project's programs on a host: a tree under the library directory, with the names that they have here.

A program is started as `python -P -m NAME` with the library on PYTHONPATH; -P keeps the current directory out of it, in
which another package of that name may stand.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from deploys import hosts
from deploys.files import ManagedFile
from deploys.settings import Settings
from facts.sources import REPOSITORY, modules


def programs(settings: Settings, *names: str) -> tuple[ManagedFile, ...]:
    """The programs of these dotted names, and every module that they import, as they stand on the host."""
    return tuple(_file(settings, str(path.relative_to(REPOSITORY)), "0644") for path in modules(*names).values())


def script(settings: Settings, path: str) -> ManagedFile:
    """A shell script, by its path in this project."""
    return _file(settings, path, "0755")


def script_path(settings: Settings, path: str) -> str:
    """Where `script` stands on the host."""
    return str(PurePosixPath(settings.directories.library, path))


def start(python: str, name: str) -> tuple[str, ...]:
    """The words that start a program; its environment has `search_path`."""
    return python, "-P", "-m", name


def search_path(settings: Settings) -> dict[str, str]:
    """Where a host's Python finds the programs; they leave no compiled files beside themselves."""
    return {"PYTHONPATH": settings.directories.library, "PYTHONDONTWRITEBYTECODE": "1"}


def _file(settings: Settings, path: str, mode: str) -> ManagedFile:
    text = (REPOSITORY / path).read_text()
    return ManagedFile(script_path(settings, path), text, mode=mode, owner=hosts.of(settings).owner)
