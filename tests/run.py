"""`./cluster test`: style, types and every test that this machine can run, in the order of their cost.

What cannot run here (no root, no package for the lab) is skipped with its reason. Arguments go to pytest instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent


def main() -> int:
    """Exit status of the first step that fails; pytest runs last and once, so that its closing line counts all."""
    arguments = sys.argv[1:]
    if not arguments:
        for title, command in (
            ("style", [str(_BIN / "ruff"), "check", "."]),
            ("format", [str(_BIN / "ruff"), "format", "--check", "."]),
            ("types", [str(_BIN / "mypy")]),
        ):
            print(f"== {title}", flush=True)
            status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
            if status:
                return status
        print("== tests", flush=True)
        arguments = [
            "tests/unit",
            "tests/facts",
            "tests/operations",
            "tests/page",
            "tests/image",
            "tests/lab",
            "tests/laptop",
            "tests/runtime",
            # Before the next two, whose lab stays up to the end: there is one lab a machine.
            "tests/netboot",
            "tests/integration",
            "tests/live",
        ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
