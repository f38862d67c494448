"""keep_together.py, run for real: nothing of a command is left, however far its processes went away from it.

Every process here holds the same pipe, so its end is read when the last one is gone, and nothing has to be polled.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = "deploys.compute_base.programs.keep_together"
# Leaves its parent's process group, as an engine's processes do.
AWAY = "setsid sleep 300 & echo up;"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux's own")


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_is_the_commands(start: Any, status: int) -> None:
    process = start(PROGRAM, "sh", "-c", f"exit {status}")
    process.communicate(timeout=10)
    assert process.returncode == status


def test_nothing_is_left_when_the_command_has_ended(start: Any) -> None:
    process = start(PROGRAM, "sh", "-c", f"{AWAY} exit 3")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, "up\n")


def test_nothing_is_left_when_it_is_told_to_stop(start: Any) -> None:
    process = start(PROGRAM, "sh", "-c", f"{AWAY} sleep 300")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_stop_that_comes_while_the_command_starts(repository: Path) -> None:
    """The signal is sent where the gap is: after the handlers, before the child is known."""
    code = (
        "import os, runpy, signal, subprocess, sys\n"
        "real = subprocess.Popen\n"
        "def started_late(*arguments):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(*arguments)\n"
        "subprocess.Popen = started_late\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, PROGRAM, "sleep", "300"],
        capture_output=True,
        timeout=30,
        check=False,
        cwd=repository,
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr


def test_a_stop_in_that_gap_does_not_wait_for_a_command_that_will_not(repository: Path) -> None:
    """The command is up and deaf to the signal before the program knows it."""
    code = (
        "import os, runpy, signal, subprocess, sys\n"
        "real = subprocess.Popen\n"
        "def known_late(*arguments):\n"
        "    child = real(*arguments, stdout=subprocess.PIPE)\n"
        "    child.stdout.readline()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return child\n"
        "subprocess.Popen = known_late\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, PROGRAM, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=repository,
    )
    assert done.returncode == 128 + signal.SIGKILL, done.stderr


def test_a_command_that_will_not_stop_is_killed(start: Any) -> None:
    process = start(PROGRAM, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0


def test_shared_memory_of_a_killed_process_is_removed(start: Any) -> None:
    """Python's tracker of shared memory outlives those who made it, and removes what they left."""
    code = (
        "import multiprocessing.shared_memory as s, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "block = s.SharedMemory(create=True, size=64)\n"
        "print(block.name, flush=True)\n"
        "time.sleep(300)\n"
    )
    process = start(PROGRAM, sys.executable, "-c", code)
    name = process.stdout.readline().strip()
    assert Path("/dev/shm", name).exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert not Path("/dev/shm", name).exists()
