"""The locked runtime's Python, for programs of the hosts that run in it; tiny models made with it.

The laptop's tests build the runtime, and tests/run.py has them run before these.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploys import library, runtime_lock
from deploys.compute_base.settings import Runtime
from facts.sources import REPOSITORY
from inventories.composition.operator import cache_directory

_TINY_MODELS = REPOSITORY / "experiments" / "programs" / "tiny_models.py"
FETCH_MODEL = "deploys.vllm.programs.fetch_model"
_RUNTIME = cache_directory() / "runtime" / runtime_lock.load(Runtime("cpu", "3.11")).name

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def python() -> str:
    """The runtime's interpreter; skipped with the command that builds it."""
    if not (_RUNTIME / "complete.json").is_file():
        pytest.skip(f"the locked runtime {_RUNTIME} is not there; `./cluster up` builds it")
    return str(_RUNTIME / "bin" / "python")


@pytest.fixture(scope="session")
def tiny_models(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the models gpt2, t5, bert and chat of random weights, and expected.json; nobody changes it."""
    directory = tmp_path_factory.mktemp("models")
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(_TINY_MODELS), str(directory)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As a program of the hosts has it: offline, and with nothing of this machine's hub settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def said(python: str, environment: dict[str, str]) -> Callable[..., str]:
    """said(code, *arguments, seconds=180): all that code, which may import this project, printed in the runtime."""

    def run(code: str, *arguments: str, seconds: float = 180) -> str:
        done = subprocess.run(
            [python, "-c", code, *arguments],
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture
def start(python: str, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program of the hosts in the runtime, by its dotted name; what is left is ended."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*library.start(python, program), *arguments],
            env={**environment, "PYTHONPATH": str(REPOSITORY), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
