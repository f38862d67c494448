"""engine_link.py beside a process that this test plays: what a replica hears of its engine, and what ends it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploys.vllm.programs.engine_link import SILENT_SECONDS, SOCKET_VARIABLE, EngineEndedError, EngineUnfitError, Link

ORDER = {"model": "m"}


class Engine:
    """The other end: takes the order, says what it is told to say, hears what the replica wants."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        said, self.descriptors, _, _ = socket.recv_fds(connection, 100_000, 2)
        self.order = json.loads(said)

    def say(self, **message: Any) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def heard(self) -> Any:
        return json.loads(self.connection.recv(100_000))


@asynccontextmanager
async def asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Link, Engine, Any, list[str]]]:
    """A link whose `start` waits, the engine that got its order, and why it was told to be gone."""
    path = str(place / "e.sock")
    why: list[str] = []
    monkeypatch.setenv(SOCKET_VARIABLE, path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        link = Link()
        started = asyncio.create_task(link.start(ORDER, why.append))
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            engine = await asyncio.to_thread(Engine, connection)
            yield link, engine, started, why
            if not started.done():
                started.cancel()


def run(place: Path, monkeypatch: pytest.MonkeyPatch, judge: Callable[..., Any]) -> None:
    async def all_of_it() -> None:
        async with asyncio.timeout(10), asked(place, monkeypatch) as parts:
            await judge(*parts)

    asyncio.run(all_of_it())


async def until(holds: Callable[[], Any]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def test_it_serves_when_the_engine_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        assert engine.order["model"] == "m"
        assert engine.order["environment"] == {"CUDA_VISIBLE_DEVICES": "3"}
        assert len(engine.descriptors) == 2, "its lines stand in the replica's log"
        engine.say(proven=True)
        await started
        link.judge()
        engine.say(state="wedged", reason="no step for 9 s")
        await until(lambda: link.state == "wedged")
        link.judge()  # it ends itself, if it does not move again
        link.heard -= SILENT_SECONDS + 1
        with pytest.raises(EngineUnfitError, match="said nothing"):
            link.judge()
        assert not why

    run(tmp_path, monkeypatch, judge)


def test_an_engine_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        engine.say(failed="ValueError: no such dtype")
        engine.connection.close()
        with pytest.raises(EngineEndedError, match="no such dtype"):
            await started
        assert not why

    run(tmp_path, monkeypatch, judge)


def test_an_engine_that_ends_later_ends_the_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        engine.say(proven=True)
        await started
        engine.connection.close()
        await until(lambda: why)
        assert why == ["the process of the engine has ended"]

    run(tmp_path, monkeypatch, judge)


def test_what_a_killed_engine_leaves_behind_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as core:
            engine.say(group=core.pid)
            engine.say(proven=True)
            await started
            engine.connection.close()
            await until(lambda: why)
            assert await asyncio.to_thread(core.wait, 10) == -signal.SIGKILL

    run(tmp_path, monkeypatch, judge)


def test_one_that_was_asked_to_leave_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        engine.say(proven=True)
        await started
        leaving = asyncio.create_task(link.leave())
        assert await asyncio.to_thread(engine.heard) == {"leave": True}
        engine.say(left=True)
        engine.connection.close()
        await leaving
        assert not why

    run(tmp_path, monkeypatch, judge)


@pytest.mark.parametrize(("answer", "outcome"), [({"answer": "[None]"}, "[None]"), ({"error": "OSError: x"}, None)])
def test_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, str], outcome: str | None) -> None:
    async def judge(link: Link, engine: Engine, started: Any, why: list[str]) -> None:
        engine.say(proven=True)
        await started
        calling = asyncio.create_task(link.call("reload_weights", [None, [], {}]))
        asked = await asyncio.to_thread(engine.heard)
        assert (asked["method"], asked["arguments"]) == ("reload_weights", [None, [], {}])
        engine.say(call=asked["call"], **answer)
        if outcome:
            assert await calling == outcome
        else:
            with pytest.raises(EngineEndedError, match="OSError: x"):
                await calling

    run(tmp_path, monkeypatch, judge)
