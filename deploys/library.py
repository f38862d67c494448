"""This project's programs on a host: the files of a role's `remote/` folder in the host's library directory."""

from __future__ import annotations

from pathlib import Path

from deploys.files import ManagedFile
from deploys.settings import Settings

_HERE = Path(__file__).parent


def program(settings: Settings, role: str, name: str, mode: str = "0644") -> ManagedFile:
    """One program of a role as it stands on the host."""
    text = (_HERE / role / "remote" / name).read_text()
    owner = "root" if settings.system.managed else ""
    return ManagedFile(f"{settings.directories.library}/{name}", text, mode=mode, owner=owner)
