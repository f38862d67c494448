"""Spoilers for real: a load on a stub engine of known speed, stopped, held up, killed, shared. Loopback; seconds.

What is asserted is that the planted cause is named. That nothing else is said of a clean run is measured on a machine
that has nothing else to do, by benchmarks/verdict_power.py.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deploys.gateway.choice import Engine
from experiments import servers
from experiments.load import arrivals, lengths, records
from experiments.load.health import ClientHealth
from experiments.load.prompts import Synthetic
from experiments.load.steps import Step
from experiments.servers import Server
from experiments.telemetry import gateway_log
from experiments.verdict import Limits, Verdict, from_rows, judge
from experiments.verdict.trial import Trial, run
from experiments.verdict.watch import Watch
from facts.sources import REPOSITORY
from tests.unit.deploys.test_deploys_gateway import ADDRESS as GATEWAY_ADDRESS
from tests.unit.deploys.test_deploys_gateway import Gateway
from tests.unit.deploys.test_deploys_gateway import Stub as DroppingEngine

ADDRESS = "127.0.0.93"
TTFT_MS, ITL_MS = 30.0, 5.0
# Somebody else, who asks forty times.
ANOTHER = """
import sys, urllib.request as web
for _ in range(40):
    web.urlopen(web.Request(sys.argv[1], b'{"max_tokens": 1}')).read()
"""


@dataclass
class Placed:
    """Where an engine listens."""

    place: Engine


def step(*, rate: float = 50.0, seconds: float = 2.0, **more: Any) -> Step:
    given = {"prompts": Synthetic(lengths.fixed(8)), "output_lengths": lengths.fixed(10), **more}
    return Step(f"rate={rate:g}", arrivals.Constant(rate), seconds, seed=1, **given)


@pytest.fixture
def stub() -> Iterator[Server]:
    with servers.stub(ADDRESS, servers.free_port(ADDRESS), TTFT_MS, ITL_MS) as server:
        yield server


def later(seconds: float, do: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.start()
    return timer


def names(verdict: Verdict) -> list[str]:
    return [cause.name for cause in verdict.causes]


def details(verdict: Verdict, name: str) -> str:
    return next((cause.detail for cause in verdict.causes if cause.name == name), "")


def test_both_ends_are_seen(stub: Server) -> None:
    trial = run(stub.url, [step(seconds=1.0)])
    assert len(trial.records) == 50
    finished = from_rows(trial.rows).series("vllm_request_success_total")
    assert finished[0].increase == 50
    assert len(trial.watched.wall) > 3
    told = {check.name for check in trial.judged().checks if check.ok is not None}
    assert {"client_clock", "client_pause", "client_event_loop", "client_send_lag", "server_restart"} <= told
    assert {"other_tenant", "preemptions", "kv_ceiling", "server_saturated", "too_short"} <= told


def _client(url: str, place: Path) -> None:
    trial = run(url, [step()])
    records.write(place / "requests.parquet", trial.records)
    (place / "health.json").write_text(json.dumps(vars(trial.health)))
    os._exit(0)  # the pytest that it is a copy of is not ended by it


def test_a_client_that_is_stopped(stub: Server, tmp_path: Path) -> None:
    client = multiprocessing.get_context("fork").Process(target=_client, args=(stub.url, tmp_path))
    client.start()
    assert client.pid is not None
    time.sleep(1.2)  # in the middle of its load
    os.kill(client.pid, signal.SIGSTOP)
    time.sleep(0.6)
    os.kill(client.pid, signal.SIGCONT)
    client.join(30)
    health = ClientHealth(**json.loads((tmp_path / "health.json").read_text()))
    verdict = judge(records.read(tmp_path / "requests.parquet"), health, from_rows([]))
    assert names(verdict)[0] == "client_pause"
    assert "stood still for" in details(verdict, "client_pause")


def test_an_event_loop_with_too_much_to_do(stub: Server) -> None:
    async def busy() -> None:
        while True:
            end = time.perf_counter() + 0.04
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0.03)

    verdict = run(stub.url, [step()], beside=busy).judged()
    assert "client_event_loop" in names(verdict)
    assert "late at P99" in details(verdict, "client_event_loop")


def test_a_clock_that_is_stepped(stub: Server) -> None:
    begun = time.monotonic()

    def wall() -> float:
        return time.time() - 0.5 * (time.monotonic() - begun > 1.2)

    verdict = run(stub.url, [step()], watch=Watch(wall=wall)).judged()
    assert names(verdict)[0] == "client_clock"
    assert "-500 ms" in details(verdict, "client_clock")


def test_an_engine_that_begins_anew() -> None:
    port = servers.free_port(ADDRESS)
    command = [sys.executable, "-m", "experiments.stub_engine", ADDRESS, str(port)]
    command += ["--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS)]
    started: list[subprocess.Popen[bytes]] = []

    def anew() -> None:
        started.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL))

    with servers.stub(ADDRESS, port, TTFT_MS, ITL_MS) as first:
        timers = [later(1.0, lambda: os.kill(first.pid, signal.SIGKILL)), later(1.3, anew)]
        try:
            verdict = run(first.url, [step(rate=30.0, seconds=3.0)]).judged()
        finally:
            for timer in timers:
                timer.join()
            for process in started:
                process.terminate()
                process.wait()
    assert "server_restart" in names(verdict)
    assert "failed_requests" in names(verdict)


def test_an_engine_that_computes_nothing_for_a_while(stub: Server) -> None:
    def stop_and_go() -> None:
        os.kill(stub.pid, signal.SIGSTOP)
        time.sleep(0.8)
        os.kill(stub.pid, signal.SIGCONT)

    timer = later(2.0, stop_and_go)  # on a busy machine the load is slow to begin
    trial = run(stub.url, [step(seconds=4.0)])
    timer.join()
    verdict = trial.judged()
    assert "server_stall" in names(verdict)
    # The same with the line that an engine would have written.
    at = sorted(record.ended for record in trial.records)[len(trial.records) // 2]
    line = {"at": at, "node": "stub", "message": "Compiling a graph for dynamic shape takes 0.81 s"}
    assert "late_compilation" in names(replace(trial, logs=[line]).judged())


def test_too_short_a_run(stub: Server) -> None:
    verdict = run(stub.url, [step(seconds=0.5)]).judged()
    assert "too_short" in names(verdict)
    assert "too_short" not in names(run(stub.url, [step(seconds=0.8)]).judged(limits=Limits(percentile=0.95)))


def test_a_server_that_does_not_keep_up() -> None:
    # Two at once, 75 ms each: 26 a second, and 40 are asked for.
    with servers.stub(ADDRESS, servers.free_port(ADDRESS), TTFT_MS, ITL_MS, flags=["--slots", "2"]) as small:
        trial = run(small.url, [step(rate=40.0, seconds=2.5)])
    assert "server_saturated" in names(trial.judged())
    assert "server_saturated" not in names(trial.judged(beyond=["rate=40"]))


def test_a_second_tenant(stub: Server) -> None:
    async def another() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", ANOTHER, f"{stub.url}/v1/completions")
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    trial = run(stub.url, [step(seconds=2.0)], beside=another)
    assert "other_tenant" in names(trial.judged())


def test_requests_that_are_dropped(stub: Server) -> None:
    verdict = run(stub.url, [step()], keep=lambda record: record.number % 20 != 11).judged()
    assert "client_dropped" in names(verdict)


def test_a_cold_prefix_cache() -> None:
    with servers.stub(ADDRESS, servers.free_port(ADDRESS), TTFT_MS, ITL_MS, flags=["--cold-ms", "60"]) as cold:
        prompts = Synthetic(lengths.fixed(8), groups=60, prefix_tokens=40)
        trial: Trial = run(cold.url, [step(prompts=prompts, seconds=2.4)])
    assert {record.prefix_group for record in trial.records} <= set(range(60))
    assert "cold_prefix_cache" in names(trial.judged())


def test_retries_that_the_gateway_hides(stub: Server, tmp_path: Path) -> None:
    """A real HAProxy as the deploy configures it, before the stub and an engine that drops each request unanswered."""
    drops = DroppingEngine("127.0.0.95")
    drops.cut = True
    place = Engine("stub", ADDRESS, int(stub.url.rpartition(":")[2]))
    gateway = Gateway(tmp_path, [Placed(place), drops])
    try:
        gateway.settled(up=2)
        trial = run(f"http://{GATEWAY_ADDRESS}:{gateway.port}", [step()])
    finally:
        gateway.end()
        drops.end()
    lines = (gateway_log.parse_line(line) for line in (tmp_path / "log").read_text().splitlines())
    spans = [line.span("head") for line in lines if line is not None]
    rows = [{**vars(span), "attributes": json.dumps(span.attributes)} for span in spans]
    # Every request was answered, and the client was told nothing.
    assert all(record.status == 200 and record.attempts == 0 for record in trial.records)
    verdict = replace(trial, spans=rows).judged()
    assert "hidden_retries" in names(verdict), verdict.lines()
    assert "given to a second engine" in details(verdict, "hidden_retries")


def test_a_client_that_a_quota_throttles(stub: Server, tmp_path: Path) -> None:
    """Stands for processors that are held back: a real quota of a tenth of one, where the kernel lets us set one."""
    group = Path("/sys/fs/cgroup/cpu/verdict-test")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"{group}: {error.strerror}")
    try:
        (group / "cpu.cfs_quota_us").write_text("10000")
        client = multiprocessing.get_context("fork").Process(target=_throttled, args=(stub.url, tmp_path, group))
        client.start()
        client.join(60)
    finally:
        group.rmdir()
    kept = json.loads((tmp_path / "throttled.json").read_text())
    assert kept["causes"][0] in ("client_pause", "client_processor")
    assert "client_processor" in kept["causes"]
    assert "quota held the client back" in kept["detail"]


def _throttled(url: str, place: Path, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    verdict = run(url, [step()]).judged()
    said = {"causes": names(verdict), "detail": details(verdict, "client_processor")}
    (place / "throttled.json").write_text(json.dumps(said))
    os._exit(0)
