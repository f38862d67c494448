"""`cluster control`: run a command on the control node, or copy files to it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import display
from operate import control, ownership


@click.group("control")
def command() -> None:
    """Work on the control node."""


@command.command("cmd", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def cmd(name: str, words: tuple[str, ...]) -> None:
    """Run a command on the control node as the login user; its exit status is ours."""
    sys.exit(control.run(ownership.load(name).control, words))


@command.command("push")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target")
@click.pass_obj
def push(name: str, source: Path, target: str) -> None:
    """Copy SOURCE, a file or a directory, to TARGET on the control node; what is the same is not sent again."""
    host = ownership.load(name).control
    control.copy(host, source, target)
    display.words().print(f"{source} is at {host.name}:{target}")
