"""Which clusters of interrupted test runs are taken down, and which are left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import left_over


def test_a_lab_and_a_laptop_of_an_ended_run_are_named(tmp_path: Path) -> None:
    ended, other = tmp_path / "pytest-1", tmp_path / "pytest-2"
    for run in (ended, other):
        socket = run / "laptop0" / "laptop" / "nodes" / "head" / "supervisor" / "control.sock"
        socket.parent.mkdir(parents=True)
        socket.touch()
    assert list(left_over.found([ended], ended / "home0" / "lab")) == [
        (ended / "home0", ["lab", "down"]),
        (ended / "laptop0", ["--cluster", "laptop", "down"]),
    ]


def test_a_lab_of_another_run_or_an_operator_is_left_alone(tmp_path: Path) -> None:
    ended = tmp_path / "pytest-1"
    ended.mkdir()
    assert list(left_over.found([ended], tmp_path / "pytest-2" / "home0" / "lab")) == []
    assert list(left_over.found([ended], Path("/root/.local/state/cluster/lab"))) == []
    assert list(left_over.found([ended], None)) == []


def test_a_run_is_alive_as_long_as_its_process(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert not left_over.is_alive(lock), "pytest takes it away when it ends"
    lock.write_text(str(os.getpid()))
    assert left_over.is_alive(lock)
    gone = subprocess.Popen(["true"])
    gone.wait()
    lock.write_text(str(gone.pid))
    assert not left_over.is_alive(lock)
