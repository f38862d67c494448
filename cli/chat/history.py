"""What was typed, kept for the next session in a file that only the operator can read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from inventories.composition.operator import home_directory

_NAME = "chat-history"


class PrivateHistory(FileHistory):
    """FileHistory with mode 0600. A line that begins with a space, or has the API key in it, is not kept."""

    def __init__(self, path: Path, secret: str | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        self._secret = secret
        super().__init__(str(path))

    def store_string(self, string: str) -> None:
        """Append to the file; a full disk is no reason to end a conversation."""
        if string.startswith(" ") or (self._secret and self._secret in string):
            return
        with contextlib.suppress(OSError):
            super().store_string(string)

    def load_history_strings(self) -> Iterable[str]:
        """Newest first; what cannot be read is no history."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []


def history(secret: str | None = None) -> tuple[History, str]:
    """The operator's history, and why it will not be kept: empty when it will."""
    path = home_directory() / _NAME
    try:
        return PrivateHistory(path, secret), ""
    except OSError as error:
        return InMemoryHistory(), f"{path}: {error.strerror}; what you type is not kept, CLUSTER_HOME moves it"
