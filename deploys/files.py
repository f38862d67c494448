"""What a managed file is: its content is a pure function of the settings, so that drift can be seen, not guessed.

The same description is written by the deploys and compared by the verification.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class ManagedFile:
    """One file on a host. `owner` empty: the user who runs the deploy."""

    path: str
    content: str
    mode: str = "0644"
    owner: str = ""

    @property
    def sha256(self) -> str:
        """Hex digest of the content."""
        return hashlib.sha256(self.content.encode()).hexdigest()
