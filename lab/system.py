"""The lab's one way to call the machine: commands, whole files, and one-line errors.

Every command gets a time limit in seconds and raises LabError with one line when it fails. Files are replaced
whole, never half written. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# The tools live in sbin directories, which are missing from the PATH of many non-login shells.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Progress = Callable[[str, str], None]
"""Called as progress(phase, detail): phase is one word, detail one line for a person."""


class LabError(Exception):
    """Something the person at the keyboard can mend.

    The message is one line with the thing, the value and the fix.
    """


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for the machine's tools.

    This process's own, with every sbin directory on PATH and plain C messages.
    """
    environment = dict(os.environ)
    known = environment.get("PATH", "")
    environment["PATH"] = f"{known}:{SEARCH_PATH}" if known else SEARCH_PATH
    environment["LC_ALL"] = "C.UTF-8"
    environment.update(extra or {})
    return environment


def run(
    arguments: Sequence[str],
    *,
    input_text: str | None = None,
    check: bool = True,
    timeout_seconds: float = 30.0,
) -> subprocess.CompletedProcess[str]:
    """Run one command and return what it printed.

    Raises LabError when the command is missing, runs past timeout_seconds, or (with check) exits with another
    status than 0.
    """
    shown = " ".join(arguments[:6])
    try:
        # A terminal's stdin must never reach a tool: it could wait for an answer nobody is asked for.
        done = subprocess.run(
            list(arguments),
            input=input_text if input_text is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            env=command_environment(),
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{arguments[0]}: not found; `cluster lab` needs it, see its preflight checks") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shown}: no end after {timeout_seconds:g} s") from error
    if check and done.returncode != 0:
        raise LabError(f"{shown}: {last_line(done.stderr or done.stdout) or f'exit status {done.returncode}'}")
    return done


def last_line(text: str) -> str:
    """The last line of text that says something; empty when there is none. Pure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace path with text in one step: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON object in path; None when the file is missing or holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
