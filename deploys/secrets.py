"""Secrets of a cluster on the operator's machine: made once, readable by their owner alone, never printed."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from pyinfra.api.exceptions import DeployError


def ensure(path: str) -> str:
    """Path of a secret that is there; made with 256 random bits when it is not. DeployError when it cannot be."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            _make(file)
        mode, content = file.stat().st_mode, file.read_bytes()
    except OSError as error:
        raise DeployError(f"{file}: {error.strerror}; the secret is kept there, make the directory writable") from None
    if mode & 0o077:
        raise DeployError(f"{file}: others can read this secret; run: chmod 600 {file}")
    if not content.strip():
        raise DeployError(f"{file}: this secret is empty; remove it and a new one is made: rm {file}")
    return path


def _make(file: Path) -> None:
    """Written whole beside its place and linked into it: a killed run leaves no half, and the first of two wins."""
    descriptor, whole = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(whole, file)
    finally:
        Path(whole).unlink()
