"""Work on the control node: a command there, files to it. Output and input are those of this process."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from operate.clusters import Host
from operate.errors import OperatorError
from operate.ssh import ssh_command


def run(host: Host, words: Sequence[str]) -> int:
    """Run a command as the login user, one word as a line for the shell; its exit status."""
    line = words[0] if len(words) == 1 else shlex.join(words)
    command = [*ssh_command(host), line] if "ssh_user" in host.data else ["/bin/sh", "-c", line]
    return subprocess.run(command, check=False).returncode


def copy(host: Host, source: Path, target: str) -> None:
    """Copy a file or a directory; what is the same is not sent again. OperatorError where it was not copied."""
    if target.startswith("-"):
        raise OperatorError(f"target {target!r} starts with '-'; write ./{target}")
    if not shutil.which("rsync"):
        raise OperatorError("rsync is not installed here; on Debian: apt-get install rsync")
    origin = f"{source}/" if source.is_dir() else str(source)
    command, destination = ["rsync", "--archive"], target
    if "ssh_user" in host.data:
        *transport, place = ssh_command(host)
        command += ["--partial", "-e", shlex.join(transport)]
        destination = f"{place}:{target}"
    status = subprocess.run([*command, "--", origin, destination], check=False).returncode
    if status:
        raise OperatorError(f"{source} was not copied to {host.name}:{target}; rsync ended with {status}")
