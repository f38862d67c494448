"""What Ray's head remembers on disk, set aside where it keeps the head from starting.

A database that cannot be read would keep the head away for ever. Without it every engine begins anew, which is less.
Standard library only.
"""

import contextlib
import os
import shutil
from pathlib import Path

# Ray's own name for where its head keeps it; absent where it keeps nothing.
PLACE = "RAY_gcs_storage_path"
# A start can fail for another reason, such as a port that is taken.
STARTS = 3


class ControlStore:
    """The database in the directory `place`, and beside it how many starts in a row came to nothing."""

    def __init__(self, place: str) -> None:
        self.place = Path(place)
        self._failed = Path(f"{place}.starts")

    def begin(self) -> str:
        """Count a start that may fail; what was done with the database of earlier ones that did, or ""."""
        try:
            failed = int(self._failed.read_text())
        except (OSError, ValueError):
            failed = 0
        said = ""
        if failed >= STARTS and self.place.exists():
            aside = Path(f"{self.place}.unreadable")
            shutil.rmtree(aside, ignore_errors=True)
            self.place.rename(aside)
            said = f"{failed} starts came to nothing: the head begins without what it remembered, kept in {aside}"
            failed = 0
        with contextlib.suppress(OSError):  # a full disk is told by Ray itself
            self._failed.parent.mkdir(parents=True, exist_ok=True)
            self._failed.write_text(f"{failed + 1}\n")
        return said

    def started(self) -> None:
        """The head is there: what ends it from here on is not the database."""
        self._failed.unlink(missing_ok=True)


def declared() -> ControlStore | None:
    """That of this process's environment."""
    place = os.environ.get(PLACE, "")
    return ControlStore(place) if place else None
