"""`./cluster test`: style, types and every test that this machine can run, in the order of their cost.

`./cluster test --quick` ends before the first engine and the first host: no root, minutes. What cannot run here (no
root, no package for the lab) is skipped with its reason. Any other arguments go to one run of pytest instead. At the
end it says how long each step took; benchmarks/ci_times.py compares these figures of two checkouts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests import left_over

REPOSITORY = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent

STYLE = {
    "style": [str(_BIN / "ruff"), "check", "."],
    "format": [str(_BIN / "ruff"), "format", "--check", "."],
    "types": [str(_BIN / "mypy")],
}
# Two for each processor: many of them wait for a child process or a deadline most of their time.
WORKERS = ["--numprocesses", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal"]
# Tests that share nothing with each other: no port, no cluster, no file outside their own directories.
SIDE_BY_SIDE = [*WORKERS, "tests/unit", "tests/facts", "tests/operations", "tests/laptop/test_bad_input.py"]
BROWSER = ["tests/page"]
# What needs a cluster or hosts, or takes all of this machine.
ONE_BY_ONE = {
    # Clusters on this machine, which build the runtime; then programs of the hosts in it, which share nothing.
    "clusters of this machine": [
        "tests/laptop",
        "--ignore=tests/laptop/test_bad_input.py",
        "tests/runtime",
        "-m",
        "cluster",
    ],
    "runtime": ["tests/runtime", "-m", "not cluster", "--numprocesses", str(os.cpu_count() or 1), "--dist", "loadfile"],
    # An image, and the one lab: tests/shared_lab.py has its stages.
    "real hosts": ["tests/image", "tests/lab", "tests/netboot", "tests/integration", "tests/live"],
}
SLOWEST = "--durations=20"


def main() -> int:
    """Exit status of the first step of style and types that fails, else of the first run of pytest that does."""
    arguments = sys.argv[1:]
    if arguments and arguments != ["--quick"]:
        return _pytest(*arguments)
    took: dict[str, float] = {}
    for title, command in STYLE.items():
        status = _step(title, took, *command)
        if status:
            return status
    if arguments:
        statuses = [_step("side by side", took, *_words(SLOWEST, *SIDE_BY_SIDE))]
    else:
        statuses = [_step("side by side", took, *_words(SLOWEST, *SIDE_BY_SIDE, *BROWSER))]
        left_over.end()
        statuses += [_step(title, took, *_words(SLOWEST, *chosen)) for title, chosen in ONE_BY_ONE.items()]
    print(f"== seconds: {', '.join(f'{title} {seconds:.0f}' for title, seconds in took.items())}", flush=True)
    return next((status for status in statuses if status), 0)


def _step(title: str, took: dict[str, float], *command: str) -> int:
    print(f"== {title}", flush=True)
    began = time.monotonic()
    status = _run(*command)
    took[title] = time.monotonic() - began
    return status


def _words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]


def _pytest(*arguments: str) -> int:
    return _run(*_words(*arguments))


def _run(*command: str) -> int:
    # Compiled files are kept beside the environment: the commands that tests start by the hundred are compiled once,
    # and no file appears in the tree.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "compiled")}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
