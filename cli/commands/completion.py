"""`cluster completion`: the shell's completion script."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from operate.errors import OperatorError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL, as in: eval "$(cluster completion bash)"."""
    made = subprocess.run(
        [sys.executable, "-m", "cli.main"],
        env={**os.environ, "_CLUSTER_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
    )
    if not made.stdout:
        raise OperatorError(f"no completion for {shell}: {made.stderr.strip() or 'click made none'}")
    click.echo(made.stdout, nl=False)
