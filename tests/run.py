"""`./cluster test`: style, types and every test that this machine can run, in the order of their cost.

`./cluster test --quick` ends before the first engine and the first host: no root, minutes. What cannot run here (no
root, no package for the lab) is skipped with its reason. Any other arguments go to one run of pytest instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import left_over

REPOSITORY = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent

STYLE = {
    "style": [str(_BIN / "ruff"), "check", "."],
    "format": [str(_BIN / "ruff"), "format", "--check", "."],
    "types": [str(_BIN / "mypy")],
}
# Tests that share nothing with each other: no port, no cluster, no file outside their own directories.
SIDE_BY_SIDE = ["tests/unit", "tests/facts", "tests/operations", "tests/laptop/test_bad_input.py"]
BROWSER = ["tests/page"]
ONE_BY_ONE = [
    "tests/image",
    "tests/lab",
    "tests/laptop",
    "--ignore=tests/laptop/test_bad_input.py",
    "tests/runtime",
    "tests/netboot",
    "tests/integration",
    "tests/live",
]
# Two for each processor: many of them wait for a child process or a deadline most of their time.
WORKERS = ["--numprocesses", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]
SLOWEST = "--durations=20"


def main() -> int:
    """Exit status of the first step of style and types that fails, else of the first run of pytest that does."""
    arguments = sys.argv[1:]
    if arguments and arguments != ["--quick"]:
        return _pytest(*arguments)
    for title, command in STYLE.items():
        print(f"== {title}", flush=True)
        status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
        if status:
            return status
    print("== tests side by side", flush=True)
    if arguments:
        return _pytest(SLOWEST, *WORKERS, *SIDE_BY_SIDE)
    first = _pytest(SLOWEST, *WORKERS, *SIDE_BY_SIDE, *BROWSER)
    print("== tests one by one", flush=True)
    left_over.end()
    return _pytest(SLOWEST, *ONE_BY_ONE) or first


def _pytest(*arguments: str) -> int:
    # Compiled files are kept beside the environment: the commands that tests start by the hundred are compiled once,
    # and no file appears in the tree.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "compiled")}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
