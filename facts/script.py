"""Runs a script of facts/remote/ on a host: sent as an argument, so nothing has to be installed there first."""

from __future__ import annotations

import shlex
from pathlib import Path

_REMOTE = Path(__file__).parent / "remote"


def command(name: str, *arguments: str, python: str = "python3", environment: str = "", seconds: int = 60) -> str:
    """Shell text that runs `name` with `arguments` under a time limit; standard error joins the output."""
    text = (_REMOTE / name).read_text()
    parts = [python, "-c", text, *arguments]
    prefix = f"{environment} " if environment else ""
    return f"{prefix}timeout {seconds} {shlex.join(parts)} 2>&1; true"
