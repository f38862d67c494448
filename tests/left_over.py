"""What an interrupted run of the tests has left up on this machine, ended before the next run needs its place.

A lab and a laptop cluster exist once on a machine. A run that was killed takes neither down, and every run after it
would fail on that. Only what belongs to a run of pytest that has ended is touched.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab import lock
from lab.paths import LabPaths

REPOSITORY = Path(__file__).parents[1]
SECONDS = 300


def end() -> None:
    """Take the labs and laptop clusters of runs that have ended down; says so."""
    for home, arguments in found(_runs(), lock.owner(LabPaths())):
        print(f"== {' '.join(arguments)}: {home} is left of a run that was interrupted", flush=True)
        subprocess.run(
            [str(Path(sys.executable).parent / "cluster"), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "CLUSTER_HOME": str(home)},
            timeout=SECONDS,
            check=False,
        )


def found(runs: list[Path], lab: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """Home of the operator, and how what is up there is taken down.

    `runs` are pytest's directories of runs that have ended, `lab` the state of the lab that is up.
    """
    for run in runs:
        if lab is not None and run in lab.parents:
            yield lab.parent, ["lab", "down"]
        for state in sorted({socket.parents[3] for socket in run.glob("*/*/nodes/*/supervisor/control.sock")}):
            yield state.parent, ["--cluster", state.name, "down"]


def _runs() -> list[Path]:
    """Directories of this user's runs of pytest that have ended: pytest writes its process id into each."""
    root = Path(tempfile.gettempdir(), f"pytest-of-{getpass.getuser()}")
    return [directory for directory in sorted(root.glob("pytest-[0-9]*")) if not is_alive(directory / ".lock")]


def is_alive(lock_file: Path) -> bool:
    """Whether the process that wrote its id there runs; one that left in order has taken its file away."""
    try:
        process = int(lock_file.read_text())
    except (OSError, ValueError):
        return False
    return Path("/proc", str(process)).exists()
