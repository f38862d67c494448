"""A load in a few words, sent to a stub engine: files, a sweep, Ctrl-C; and the command in front of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.errors import ExperimentError
from experiments.load import records
from experiments.load.client import Endpoint
from experiments.load.short_form import Asked, measure
from experiments.load.steps import Step
from experiments.stub_engine import Speed, precise_loop, serve

ADDRESS = "127.0.0.73"
QUICK = {"duration_seconds": 0.5, "warm_up_seconds": 0.1, "input_tokens": "4", "output_tokens": "3"}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A stub engine in a thread of its own."""
    loop, ready, found = precise_loop(), threading.Event(), []

    async def start() -> None:
        found.append(await serve(ADDRESS, 0, Speed(0.02, 0.002, "stub1")))
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield Endpoint(f"http://{ADDRESS}:{found[0].sockets[0].getsockname()[1]}/v1", "stub")
    loop.call_soon_threadsafe(found[0].close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_steps_are_sent_and_kept(endpoint: Endpoint, tmp_path: Path) -> None:
    begun: list[Step] = []
    asked = Asked(rates=(20, 40), objectives={"time_to_first_token": 1_000}, **QUICK)  # type: ignore[arg-type]
    done = measure(endpoint, asked, to=tmp_path, begun=begun.append)
    assert [step.name for step in begun] == ["rate=20", "rate=40"]
    assert [(step["step"], step["good"], step["failed"]) for step in done.steps] == [
        ("rate=20", 10, 0),
        ("rate=40", 20, 0),
    ]
    assert not done.stopped
    kept = records.read(tmp_path / "requests.parquet")
    assert kept == list(done.records) and len(kept) == 2 + 10 + 4 + 20
    assert json.loads((tmp_path / "summary.json").read_text())["steps"][1]["goodput"]["share"] == 1
    assert json.loads((tmp_path / "vllm_bench-rate=40.json").read_text())["completed"] == 20
    with pytest.raises(ExperimentError, match="is there already"):
        measure(endpoint, asked, to=tmp_path)


def test_a_sweep_ends_where_its_objective_is_missed(endpoint: Endpoint) -> None:
    asked = Asked(sweep_from=20, objectives={"time_to_first_token": 1}, **QUICK)  # type: ignore[arg-type]
    done = measure(endpoint, asked)
    said = done.to_json()["sweep"]
    assert said["highest"] == 0
    assert [point["rate"] for point in said["points"]] == [20, 10, 5]


def test_ctrl_c_ends_the_load_and_keeps_what_there_is(endpoint: Endpoint, tmp_path: Path) -> None:
    asked = Asked(users=(2,), **{**QUICK, "duration_seconds": 60.0})  # type: ignore[arg-type]
    before = signal.getsignal(signal.SIGINT)

    def press_when_some_have_ended() -> None:
        lines = tmp_path / "requests.partial.jsonl"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (lines.exists() and lines.read_bytes().count(b"\n") > 2):
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_when_some_have_ended)
    presser.start()
    done = measure(endpoint, asked, to=tmp_path)
    presser.join()
    assert done.stopped and done.records and all(record.good for record in done.records)
    assert records.read(tmp_path / "requests.parquet") == list(done.records)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(), "give one of"),
        (Asked(rates=(1,), users=(1,)), "give one of"),
        (Asked(rates=(-1,)), "above 0"),
        (Asked(rates=(1,), duration_seconds=0), "no end"),
        (Asked(rates=(1,), input_tokens="x"), "lengths 'x'"),
        (Asked(trace=Path("/nowhere")), "give a trace"),
        (Asked(rates=(1,), groups=3), "give both above 0, or neither"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(asked: Asked, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        measure(Endpoint("http://127.0.0.1:1/v1", "m"), asked)
