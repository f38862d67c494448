"""What a stub engine has room for: slots, a queue, a cache of prefixes, and what it says of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import httpx

from experiments.load.client import client
from experiments.stub_engine import Speed, precise_loop, serve
from experiments.stub_room import Room

ADDRESS = "127.0.0.93"


def test_a_room_lets_others_wait_and_counts() -> None:
    room, begun = Room(slots=1, cold=0.2), list[tuple[str, bool]]()

    def called(name: str) -> Callable[[bool], None]:
        return lambda waited: begun.append((name, waited))

    for name in ("a", "b", "c"):
        room.enter(called(name))
    assert begun == [("a", False)]
    room.leave(5)
    room.leave(0)
    assert begun == [("a", False), ("b", True), ("c", True)]
    assert (room.running, room.finished, room.tokens) == (1, 1, 5)
    assert [room.prefill(prompt) for prompt in ("x y", "x y", "z")] == [0.2, 0.0, 0.2]
    assert 'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1\n' in room.metrics("m")


def test_requests_wait_for_a_slot_and_are_counted() -> None:
    async def run() -> tuple[list[float], str]:
        server = await serve(ADDRESS, 0, Speed(0.1, 0.0, "stub", room=Room(slots=1)))
        url = f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}"
        loop = asyncio.get_running_loop()

        async def ask(session: httpx.AsyncClient) -> float:
            begun = loop.time()
            body = {"messages": [{"role": "user", "content": "q"}], "max_tokens": 3, "stream": bool(begun % 2)}
            answer = await session.post(f"{url}/v1/chat/completions", json=body)
            assert answer.status_code == 200
            return loop.time() - begun

        try:
            async with client() as session:
                waits = sorted(await asyncio.gather(*(ask(session) for _ in range(3))))
                return waits, (await session.get(f"{url}/metrics")).text
        finally:
            server.close()

    with contextlib.closing(precise_loop()) as loop:
        waits, said = loop.run_until_complete(run())
    # One at once: each begins when the one before it has ended.
    assert all(wait >= 0.1 * place for place, wait in enumerate(waits, 1))
    values: dict[str, Any] = dict(re.findall(r"^([\w:]+)(?:\{.*\})? (\S+)$", said, re.MULTILINE))
    assert (values["vllm:request_success_total"], values["vllm:generation_tokens_total"]) == ("3", "9")
    assert (values["vllm:num_requests_running"], values["vllm:num_requests_waiting"]) == ("0", "0")
    assert float(values["process_start_time_seconds"]) > 1e9


def test_a_client_that_goes_away_frees_its_slot() -> None:
    async def run() -> int:
        room = Room(slots=1)
        server = await serve(ADDRESS, 0, Speed(30.0, 0.0, "stub", room=room))
        port = server.sockets[0].getsockname()[1]
        try:
            for _ in range(2):  # the second one waits
                _, writer = await asyncio.open_connection(ADDRESS, port)
                writer.write(b"POST /v1/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
                while not room.running:
                    await asyncio.sleep(0.01)
                writer.transport.abort()
                async with asyncio.timeout(10):
                    while room.running:
                        await asyncio.sleep(0.01)
            return room.finished
        finally:
            server.close()

    with contextlib.closing(precise_loop()) as loop:
        assert loop.run_until_complete(run()) == 0
