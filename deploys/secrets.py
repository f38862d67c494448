"""Secrets of a cluster on the operator's machine: made once, readable by their owner alone, never printed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pyinfra.api.exceptions import DeployError


def ensure(path: str) -> str:
    """Path of a secret that is there; made with 256 random bits when it is not. DeployError when it cannot be."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if file.stat().st_mode & 0o077:
                raise DeployError(f"{file}: others can read this secret; run: chmod 600 {file}") from None
            return path
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
    except OSError as error:
        raise DeployError(f"{file}: {error.strerror}; the secret is kept there, make the directory writable") from None
    return path
