"""The services of the written compose file, started as they are: entry point, command, environment, health checks.

No container engine is needed, nor used: tests/laptop/boxes.py says what it stands in for and what it leaves out. Head
and one worker, without an engine for a model: under 1.5 GB of memory. Their networks are their own, so that another
cluster may run on this machine meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from containers.declared import load
from deploys.compute_base.declared import BUILD_RUNTIME
from facts.sources import REPOSITORY
from inventories.composition.operator import cache_directory, package_sources
from tests.laptop.boxes import Box, Engine

pytestmark = pytest.mark.cluster

START_SECONDS = 60.0


def runtime_of(context: Path, home: Path) -> Path:
    """The locked runtime, built as the image builds it; at once where this machine's cache has it."""
    declared = load("containers", 1)
    directory = cache_directory() / "runtime" / declared.runtime.name
    script = ["sh", str(context / "library" / BUILD_RUNTIME), str(directory)]
    subprocess.run(
        [*script, declared.control.runtime.python, str(context / "runtime.lock"), "0"],
        env={**os.environ, **package_sources(), "CLUSTER_UV": str(Path(sys.executable).parent / "uv"),
             "UV_CACHE_DIR": str(cache_directory() / "uv"), "HOME": str(home)},
        check=True, timeout=900,
    )  # fmt: skip
    return directory


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces")
    directory = tmp_path_factory.mktemp("compose")
    scratch = tmp_path_factory.mktemp("boxes")
    subprocess.run(
        [sys.executable, "-m", "containers", "--workers", "1", "--into", str(directory)],
        cwd=REPOSITORY, env={**os.environ, "CLUSTER_HOME": str(scratch / "home")}, check=True, timeout=60,
    )  # fmt: skip
    compose = yaml.safe_load((directory / "compose.yaml").read_text())
    values = dict(line.split("=", 1) for line in (directory / ".env").read_text().splitlines())
    context = directory / compose["services"]["head"]["build"]["context"]
    made = Engine(directory, compose, values, runtime_of(context, scratch), scratch)
    yield made
    made.clean()


def wait_until_healthy(engine: Engine, box: Box) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert box.process.poll() is None, engine.said()
        done = box.healthy()
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, f"{done.stdout}{done.stderr}\n{engine.said()}"
        time.sleep(0.5)


def test_head_and_worker_run_are_healthy_and_stop(engine: Engine) -> None:
    head = engine.start("head")
    assert wait_until_healthy(engine, head) == "head is alive at 172.30.77.10\n"

    # The worker's check says that it is not there before it is.
    worker_test = engine.compose["services"]["worker1"]["healthcheck"]["test"][1:]
    early = head.ask(*worker_test)
    assert (early.returncode, early.stdout) == (1, "Ray has no node worker1; it has head\n")

    worker = engine.start("worker1")
    assert wait_until_healthy(engine, worker) == "worker1 is alive at 172.30.77.11\n"
    assert head.ask(*worker_test).returncode == 0

    # Nobody deployed an application: the check of the service that does says so.
    serve = head.ask(*engine.compose["services"]["serve"]["healthcheck"]["test"][1:])
    assert (serve.returncode, serve.stdout) == (1, "the application is not deployed\n")

    # As closed as it is declared: no root, no capability, nothing to write but state and /tmp.
    status = Path(f"/proc/{ray_process(worker)}/status").read_text()
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status and "Uid:\t10001\t10001" in status
    assert worker.ask("touch", "/usr/local/lib/cluster/new").returncode != 0

    assert worker.stop(25) is not None
    assert worker.process.returncode not in (None, -9), engine.said()
    deadline = time.monotonic() + START_SECONDS
    while (late := head.ask(*worker_test)).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert late.stdout == "Ray says that worker1 is DEAD\n"
    head.stop(25)
    assert head.process.returncode not in (None, -9), engine.said()


def test_front_hands_connections_on_with_the_image_s_own_haproxy(engine: Engine) -> None:
    service = engine.compose["services"]["front"]
    place = engine.place({"command": engine.compose["services"]["head"]["command"]})
    haproxy = service["command"][0].replace(place, str(engine.runtime))
    configuration = engine.directory / engine.compose["configs"]["front.cfg"]["file"]
    done = subprocess.run([haproxy, "-c", "-f", str(configuration)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def ray_process(box: Box) -> str:
    """The raylet of a box."""
    wanted = Path(f"/proc/{box.first}/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns" / "pid").readlink() == wanted and (entry / "comm").read_text().strip() == "raylet":
                return entry.name
        except OSError:
            continue
    raise AssertionError(f"no raylet in {box.name}")
