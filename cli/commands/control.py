"""`cluster control`: run a command on the control node, or copy files to it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from cli import display
from operate import clusters
from operate.errors import OperatorError
from operate.ssh import ssh_command


@click.group("control")
def command() -> None:
    """Work on the control node."""


@command.command("cmd", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def cmd(name: str, words: tuple[str, ...]) -> None:
    """Run a command on the control node as the login user; its exit status is ours."""
    host = clusters.load(name).control
    line = words[0] if len(words) == 1 else shlex.join(words)
    if "ssh_user" not in host.data:
        sys.exit(subprocess.run(["/bin/sh", "-c", line], check=False).returncode)
    sys.exit(subprocess.run([*ssh_command(host), line], check=False).returncode)


@command.command("push")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target")
@click.pass_obj
def push(name: str, source: Path, target: str) -> None:
    """Copy SOURCE, a file or a directory, to TARGET on the control node; what is the same is not sent again."""
    host = clusters.load(name).control
    if target.startswith("-"):
        raise OperatorError(f"target {target!r} starts with '-'; write ./{target}")
    if not shutil.which("rsync"):
        raise OperatorError("rsync is not installed here; on Debian: apt-get install rsync")
    origin = f"{source}/" if source.is_dir() else str(source)
    if "ssh_user" not in host.data:
        done = subprocess.run(["rsync", "--archive", "--", origin, target], check=False)
    else:
        *transport, place = ssh_command(host)
        done = subprocess.run(
            ["rsync", "--archive", "--partial", "-e", shlex.join(transport), "--", origin, f"{place}:{target}"],
            check=False,
        )
    if done.returncode:
        raise OperatorError(f"{source} was not copied to {host.name}:{target}; rsync ended with {done.returncode}")
    display.words().print(f"{source} is at {host.name}:{target}")
