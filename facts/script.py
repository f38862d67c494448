"""Runs a program of facts/programs/ on a host: sent as an argument, so nothing has to be installed there first."""

from __future__ import annotations

import shlex

from facts import sources


def command(program: str, *arguments: str, python: str = "python3", environment: str = "", seconds: int = 60) -> str:
    """Shell text that runs facts.programs.`program` under a time limit; standard error joins the output."""
    parts = [python, "-c", sources.text(f"facts.programs.{program}"), *arguments]
    prefix = f"{environment} " if environment else ""
    return f"{prefix}timeout {seconds} {shlex.join(parts)} 2>&1; true"
