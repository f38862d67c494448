"""A crash loop under a real supervisor: what its service says, where it counts no restarts itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facts.health.services import condition
from facts.parse.cluster_state import ServiceState
from facts.services import Services

PROGRAMS = Path(sys.executable).parent
PROGRAM = """
[program:{name}]
command=/bin/sh -c "{script}"
autorestart=true
startsecs=0
redirect_stderr=true
stdout_logfile={directory}/{name}.log
"""
LOOP, RUNS = "echo starting; echo; echo bind: Address already in use; exit 3", "exec sleep 600"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A supervisor with a program that ends at once and one that runs."""
    text = (
        f"[supervisord]\nlogfile={tmp_path}/supervisord.log\npidfile={tmp_path}/pid\n"
        f"[unix_http_server]\nfile={tmp_path}/control.sock\n[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        + PROGRAM.format(name="loops", script=LOOP, directory=tmp_path)
        + PROGRAM.format(name="runs", script=RUNS, directory=tmp_path)
    )
    (tmp_path / "supervisord.conf").write_text(text)
    with subprocess.Popen([PROGRAMS / "supervisord", "-n", "-s", "-c", tmp_path / "supervisord.conf"]) as daemon:
        yield tmp_path
        daemon.terminate()


def states(directory: Path) -> dict[str, ServiceState]:
    fact = Services()
    command = fact.command(("loops", "runs", "unknown"), str(directory))
    return fact.process(
        subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    )


def test_a_crash_loop_under_supervisor(directory: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = states(directory)
        if condition(found["loops"].to_json()) == "restarting" and condition(found["runs"].to_json()) == "running":
            break
        time.sleep(0.2)
    loops, runs = found["loops"], found["runs"]
    assert condition(loops.to_json()) == "restarting" and (loops.restarts or 0) >= 2, loops
    assert loops.last_words == "bind: Address already in use"
    assert condition(runs.to_json()) == "running" and runs.last_words == ""
    assert condition(found["unknown"].to_json()) == "stopped"
