"""The one way to take a directory of a store away: what is mounted in it is unmounted first, whoever mounted it.

Used by the build and by clean. A tree is never removed through a mount, which would empty what is mounted there.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from images.store import ImageError
from lab.processes import wait_until
from lab.system import LabError, run

REMOVE_SECONDS = 10.0


def mounted_below(directory: Path, mount_table: str) -> list[Path]:
    """Mount points at or below directory in the text of /proc/self/mountinfo, the innermost first. Pure."""
    found = []
    for line in mount_table.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            # The kernel writes blanks and the like as three octal digits.
            point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4]))
            if point == directory or directory in point.parents:
                found.append(point)
    # A later line may lie over an earlier one.
    found.reverse()
    return sorted(found, key=lambda point: len(point.parts), reverse=True)


def stop_mounts(directory: Path) -> list[Path]:
    """Unmount everything at or below directory; returns what was mounted. ImageError names what stays."""
    points = mounted_below(directory, Path("/proc/self/mountinfo").read_text(errors="replace"))
    for point in points:
        try:
            run(["umount", str(point)])
        except LabError as error:
            raise ImageError(f"{point}: still in use ({error}); end what uses it, then run the command again") from None
    return points


def remove(directory: Path) -> None:
    """Remove a directory, with nothing mounted in it any more; ImageError when something goes on writing there."""
    stop_mounts(directory.absolute())

    def removed() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    # An interrupted build's last process may be ending this moment, and have a file left to write.
    if not wait_until(removed, REMOVE_SECONDS):
        raise ImageError(f"{directory}: cannot be removed: something still writes there, or it is not yours; remove it")
