"""The program that does faults on a host, run here as it runs on the laptop: no systemd, children with a deadline.

Where systemd runs the host, tests/lab does the same on the lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploys.faults import stand_in
from deploys.faults.commands import GUARD
from deploys.faults.programs import fault_guard, fault_record
from facts import sources

NODE = "worker-of-a-test"
CONTEXT = {
    "node": NODE,
    "interface": "lo",
    "peers": {NODE: "127.0.0.70", "another": "127.0.0.71"},
    "operator_ports": [22],
    "controller": "another system",
    "shared_machine": True,
}

pytestmark = pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd would keep what is started here")


class Guard:
    """One host's program and its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        directory.mkdir()
        self.program = directory / "guard.py"
        self.program.write_text(sources.text(GUARD))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.program), self.directory, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def inject(self, name: str, seconds: float, **parameters: Any) -> subprocess.CompletedProcess[str]:
        return self.order(name, seconds, parameters, CONTEXT)

    def order(
        self, name: str, seconds: float, parameters: dict[str, Any], context: dict[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        said = {"name": name, "seconds": seconds, "parameters": parameters, "context": context}
        return self.run("inject", json.dumps(said))

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("look", json.dumps(CONTEXT)).stdout)
        return found

    def wait_until_over(self, name: str, seconds: float = 20) -> dict[str, Any]:
        """The history's line about a fault, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := [entry for entry in fault_record.history(self.directory) if entry["name"] == name]:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"{name} is not over after {seconds} s: {fault_record.active(self.directory)}")


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    found = Guard(tmp_path / "faults")
    yield found
    for record in fault_record.active(found.directory):
        found.run("heal", record["name"])


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the node."""
    with subprocess.Popen(["engine-of-a-test", "60"], executable="sleep", env={"CLUSTER_NODE_NAME": NODE}) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
            process.kill()


def _state(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_frozen_process_goes_on_when_the_time_is_over_though_nobody_asks(
    guard: Guard, victim: subprocess.Popen[bytes]
) -> None:
    done = guard.inject("process-freeze", 1.5, process="engine-of-a-test")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["armed"] and said["seen"] == [f"process {victim.pid} is stopped"]
    assert _state(victim) == "T"
    over = guard.wait_until_over("process-freeze")
    assert over["by"] == "timer" and over["left"] == []
    assert over["asked"] < over["took_effect"] < over["healed_asked"] <= over["healed"]
    assert _state(victim) == "S"
    assert guard.look()["active"] == [] and "process-freeze" not in guard.look()["left"]


def test_concurrent_pressure_is_seen_and_healed_each_by_itself(guard: Guard, tmp_path: Path) -> None:
    asked: dict[str, dict[str, Any]] = {
        "cpu-pressure": {"processes": 1, "load_percent": 5},
        "memory-pressure": {"bytes": 1 << 20, "keep_free_bytes": 1 << 20},
        "disk-pressure": {"bytes": 1 << 20, "keep_free_bytes": 1 << 20, "directory": str(tmp_path)},
    }
    for name, parameters in asked.items():
        done = guard.inject(name, 30, **parameters)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["made"]["means"] == "our own program"
    found = guard.look()
    assert [one["name"] for one in found["active"]] == sorted(asked) and all(one["armed"] for one in found["active"])
    assert set(found["left"]) == set(asked)
    assert "is there already" in guard.inject("cpu-pressure", 5, **asked["cpu-pressure"]).stderr
    healed = json.loads(guard.run("heal", "cpu-pressure").stdout)
    assert healed["by"] == "controller" and healed["left"] == []
    assert set(guard.look()["left"]) == {"memory-pressure", "disk-pressure"}
    for name in ("memory-pressure", "disk-pressure"):
        assert guard.run("heal", name).returncode == 0
    found = guard.look()
    assert (found["left"], found["active"], len(found["history"])) == ({}, [], 3)
    assert json.loads(guard.run("heal", "cpu-pressure").stdout)["healed"] == healed["healed"], "told once more"


def test_a_program_that_was_killed_before_it_acted_leaves_a_record_that_the_timer_clears(guard: Guard) -> None:
    order = {"name": "cpu-pressure", "seconds": 1, "parameters": {}, "context": CONTEXT}
    fault_record.write(
        guard.directory, {"name": "cpu-pressure", "order": order, "asked": 1.0, "until": 2.0, "made": None}
    )
    assert guard.run("expire", "cpu-pressure").returncode == 0
    assert guard.wait_until_over("cpu-pressure")["by"] == "timer"
    assert fault_record.active(guard.directory) == []
    fault_record.write(
        guard.directory, {"name": "cpu-pressure", "order": order, "asked": 1.0, "until": 2.0, "made": None}
    )
    done = guard.inject("cpu-pressure", 20, processes=1, load_percent=5)
    assert done.returncode == 0, "a record without a timer stands in nobody's way"


def test_a_kill_is_seen_by_who_is_gone_and_is_nothing_to_heal(guard: Guard, victim: subprocess.Popen[bytes]) -> None:
    done = guard.inject("process-kill", 30, process="engine-of-a-test")
    assert json.loads(done.stdout)["seen"] == [f"process {victim.pid} is gone"]
    assert victim.wait(10) == -signal.SIGKILL
    assert guard.run("heal", "process-kill").returncode == 0
    again = guard.inject("process-kill", 30, process="engine-of-a-test")
    assert again.returncode == 1 and "has no process whose title or program begins with" in again.stderr
    assert fault_record.active(guard.directory) == [] and guard.look()["left"] == {}


def test_what_would_hit_the_controller_is_refused_before_anything_is_done(guard: Guard) -> None:
    own = {**CONTEXT, "controller": fault_guard.identity()}
    for name, parameters in (
        ("network-partition", {"peers": []}),
        ("host-hang", {}),
        ("clock-offset", {"offset_seconds": 5, "service": ""}),
    ):
        done = guard.order(name, 5, parameters, own)
        assert done.returncode == 1 and "the controller's own system" in done.stderr, name
    assert fault_record.active(guard.directory) == [] and fault_record.history(guard.directory) == []


def test_a_fault_that_cannot_be_done_here_says_so_and_leaves_nothing(guard: Guard) -> None:
    for name, parameters, said in (
        ("melt", {}, "'melt' is no fault"),
        ("host-crash", {}, "systemd runs nothing here"),
        ("gpu-lost", {"device": 0}, "a real card is not touched"),
        ("memory-pressure", {"bytes": 1 << 20, "keep_free_bytes": 1 << 60}, "lower keep_free_bytes"),
    ):
        done = guard.inject(name, 5, **parameters)
        assert done.returncode == 1 and said in done.stderr, done.stderr
    assert fault_record.active(guard.directory) == [] and guard.look()["left"] == {}
    assert guard.run("heal", "melt").returncode == 1
    assert json.loads(guard.run("heal", "cpu-pressure").stdout)["by"] == "", "there was none"


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")
def test_gpu_faults_change_what_a_reader_of_the_stand_in_sees(guard: Guard, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text(before := stand_in.table([stand_in.Card("Card", 8 << 30, 300_000, 2000)]))
    context = {**CONTEXT, "nvml_table": str(table)}
    done = guard.order("gpu-power-cap", 30, {"device": 0, "watts": 150.0}, context)
    assert json.loads(done.stdout)["made"]["stand_in"] is True
    assert guard.order("gpu-xid", 30, {"device": 0, "xid": 79}, context).returncode == 0
    assert "0 power_limit_milliwatts 150000 #cluster-fault:gpu-power-cap" in table.read_text().splitlines()
    for name in ("gpu-power-cap", "gpu-xid"):
        assert guard.run("heal", name).returncode == 0
    assert table.read_text() == before


def test_records_outlive_a_write_that_was_cut(tmp_path: Path) -> None:
    fault_record.remember(str(tmp_path), {"name": "cpu-pressure"})
    with open(tmp_path / "history.jsonl", "a") as stream:
        stream.write('{"name": "mem')
    (tmp_path / "disk-pressure.json").write_text('{"name"')
    assert fault_record.history(str(tmp_path)) == [{"name": "cpu-pressure"}]
    assert fault_record.active(str(tmp_path)) == []
