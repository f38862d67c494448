"""patient_ray.py in front of the real Ray: a node whose agents are slow joins, and does not end and begin anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from deploys import library

REPOSITORY = Path(__file__).parents[2]
PROGRAM = "deploys.compute_base.programs.patient_ray"
ADDRESS = "127.0.0.92"
# Ray ends a raylet whose agents have not written their ports after 15 s.
AGENT_SECONDS = 18
SLOW = f"""
import pathlib, time
if "dashboard/agent.py" in pathlib.Path("/proc/self/cmdline").read_text():
    time.sleep({AGENT_SECONDS})
"""


def test_a_node_with_slow_agents_is_known_before_they_are_there(
    python: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    gcs, agent, metrics, listen, runtime_env = _free(5)
    # Ray's sockets have paths of at most 107 characters.
    place = Path("/tmp") / f"patient-{os.getpid()}"
    started = subprocess.Popen(
        [
            *(*library.start(python, PROGRAM), "60", "start", "--head", "--block", f"--port={gcs}", "--num-cpus=1"),
            *("--include-dashboard=false", f"--node-ip-address={ADDRESS}", "--disable-usage-stats"),
            *(f"--dashboard-agent-grpc-port={agent}", f"--metrics-export-port={metrics}"),
            *(f"--dashboard-agent-listen-port={listen}", f"--runtime-env-agent-port={runtime_env}"),
            *(f"--temp-dir={place}", "--object-store-memory=80000000"),
        ],
        env={**environment, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stop = threading.Timer(90, started.kill)
    stop.start()
    try:
        assert started.stdout is not None
        said = []
        for line in started.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        assert "Ray runtime started" in "".join(said[-1:]), "".join(said)[-2000:]
        time.sleep(AGENT_SECONDS + 4)
        assert started.poll() is None, "the agents came, and Ray runs on"
        (log,) = place.glob("session_2*/logs/raylet.out")
        assert "Check failed" not in log.read_text()
    finally:
        stop.cancel()
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        subprocess.run(["rm", "-rf", str(place)], check=True)


def _free(count: int) -> list[int]:
    """Ports that nobody has now."""
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind((ADDRESS, 0))
    found = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return found


def test_a_raylet_that_ends_ends_the_start_with_its_words(
    python: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Its port is taken. Ray alone asks for it for 30 s, and says no more than that something may have failed."""
    gcs, agent, metrics, listen, runtime_env = _free(5)
    place = Path("/tmp") / f"ended-{os.getpid()}"
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(
                    *library.start(python, PROGRAM),
                    "180",
                    "start",
                    "--head",
                    "--block",
                    f"--port={gcs}",
                    "--num-cpus=1",
                ),
                *("--include-dashboard=false", f"--node-ip-address={ADDRESS}", "--disable-usage-stats"),
                *(f"--dashboard-agent-grpc-port={agent}", f"--metrics-export-port={metrics}"),
                *(f"--dashboard-agent-listen-port={listen}", f"--runtime-env-agent-port={runtime_env}"),
                *(f"--temp-dir={place}", "--object-store-memory=80000000"),
                f"--node-manager-port={port}",
            ],
            env={**environment, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        (log,) = place.glob("session_2*/logs/raylet.out")
        seconds_after_its_last_word = time.time() - log.stat().st_mtime
    subprocess.run(["rm", "-rf", str(place)], check=True)
    assert done.returncode == 1
    assert "the raylet ended with status" in done.stderr
    assert f"The specified port is {port}" in done.stderr
    assert seconds_after_its_last_word < 20, "Ray alone asks for 30 s"
