"""Dockerfile, compose files and shell programs, judged by the tools that people judge such files with.

hadolint and shellcheck are the released binaries, check-jsonschema holds the compose specification's schema: each comes
in a package of the same name, and none asks the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
COMPOSE = sorted((REPOSITORY / "containers").glob("compose*.yaml"))
PROGRAMS = sorted(path for top in ("containers", "deploys") for path in (REPOSITORY / top).glob("**/programs/*.sh"))


def judged(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool of this environment; without it nothing is judged, and that is a failure."""
    program = shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, f"{tool} is not in this environment; run: uv sync"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_dockerfile() -> None:
    done = judged(
        "hadolint", "--no-color", "--failure-threshold", "style", str(REPOSITORY / "containers" / "Dockerfile")
    )
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN apt-get update\nUSER root\n")
    done = judged("hadolint", "--no-color", str(bad))
    assert done.returncode != 0 and "DL3006" in done.stdout and "DL3002" in done.stdout


@pytest.mark.parametrize("file", COMPOSE, ids=lambda path: str(path.name))
def test_compose_file_is_of_the_specification(file: Path) -> None:
    done = judged("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_finds_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "compose.yaml"
    bad.write_text("services:\n  one:\n    image: x\n    shm_sise: 64m\n")
    done = judged("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(bad))
    assert done.returncode != 0 and "shm_sise" in done.stdout


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda path: str(path.name))
def test_shell_program(file: Path) -> None:
    done = judged("shellcheck", str(file))
    assert done.returncode == 0, done.stdout


def test_the_shell_programs_are_found() -> None:
    assert {"entrypoint.sh", "build_runtime.sh"} <= {path.name for path in PROGRAMS}
