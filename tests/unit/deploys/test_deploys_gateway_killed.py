"""Engines that are killed under load, behind the gateway's configuration in a real HAProxy: who is asked again.

The engines are processes of their own here, because only a killed process resets its connections with what it had not
read; they answer as an engine's HTTP side does, on loopback.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.gateway.configuration import Engine
from tests.unit.deploys.test_deploys_gateway import ADDRESS, Gateway, wait_until

CLIENTS, NEWCOMERS, KILLS = 8, 3, 2  # each engine once

# ADDRESS PORT. What is asked below /slow/ is answered after a while and not read before: 100 KB do not fit into
# asyncio's buffer, so a kill resets the connection. What is asked below /part/ is answered by half, and then no more.
ENGINE = """
import asyncio, re, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            if b"/slow/" in head:
                print("asked", flush=True)
                await asyncio.sleep(3)
            size = re.search(rb"content-length: (\\d+)", head.lower())
            await reader.readexactly(int(size[1]) if size else 0)
            who = b"x-cluster-address: " + sys.argv[1].encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\n" + who + b"\\r\\ncontent-length: 4\\r\\n\\r\\n")
            if b"/part/" in head:
                writer.write(b"ha")
                await asyncio.sleep(60)
            writer.write(b"full")
    except (OSError, EOFError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), backlog=512)
    print("up", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Killable:
    """An engine's HTTP side as a process, which comes back on its port."""

    def __init__(self, address: str) -> None:
        with socket.socket() as free:
            free.bind((address, 0))
            self.place = Engine(address.replace(".", "-"), address, free.getsockname()[1])
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, self.place.address, str(self.place.port)], stdout=subprocess.PIPE, text=True
        )
        assert self.said() == "up"

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Gateway, list[Killable]]]:
    engines = [Killable("127.0.0.83"), Killable("127.0.0.84")]
    gateway = Gateway(tmp_path, engines)
    gateway.settled(up=2)
    yield gateway, engines
    gateway.end()
    for engine in engines:
        engine.kill()


def test_who_waits_for_a_killed_engine_is_answered_by_another(pair: tuple[Gateway, list[Killable]]) -> None:
    """Kept connections, as clients have them: HAProxy closes one without a word where it gives up.

    The engine that is left is busy, so the dead one, of no connections, is the gateway's first choice.
    """
    gateway, engines = pair
    ended: list[str] = []
    everybody = [http.client.HTTPConnection(ADDRESS, gateway.port, timeout=30) for _ in range(CLIENTS + NEWCOMERS)]
    connections, others = everybody[:CLIENTS], everybody[CLIENTS:]

    def ask(connection: http.client.HTTPConnection, path: str) -> None:
        try:
            connection.request("POST", path, b"x" * 100_000)
            answer = connection.getresponse()
            ended.append(f"{answer.status} {answer.read().decode()}")
        except (OSError, http.client.HTTPException) as error:
            ended.append(type(error).__name__)

    for turn in range(KILLS):
        for connection in everybody:
            ask(connection, "/v1/quick/completions")
        asking = [threading.Thread(target=ask, args=(connection, "/v1/slow/completions")) for connection in connections]
        for thread in asking:
            thread.start()
        for engine in engines:  # as many on the one as on the other
            assert [engine.said() for _ in range(CLIENTS // 2)] == ["asked"] * (CLIENTS // 2)
        killed = engines[turn % 2]
        killed.kill()
        for connection in others:  # who comes now is sent to the dead one first
            ask(connection, "/v1/quick/completions")
        for thread in asking:
            thread.join(60)
        gateway.settled(up=1)
        assert [engines[1 - turn % 2].said() for _ in range(CLIENTS // 2)] == ["asked"] * (CLIENTS // 2)
        killed.begin()
        gateway.settled(up=2)
    assert ended == ["200 full"] * (2 * len(everybody) * KILLS)


def test_an_answer_that_has_begun_is_never_given_twice(pair: tuple[Gateway, list[Killable]]) -> None:
    gateway, engines = pair
    connection = http.client.HTTPConnection(ADDRESS, gateway.port, timeout=30)
    connection.request("POST", "/v1/part/completions", b"{}")
    answer = connection.getresponse()
    assert (answer.status, answer.read(2)) == (200, b"ha")
    (asked,) = [engine for engine in engines if engine.place.address == answer.headers["x-cluster-address"]]
    asked.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    log = Path(gateway.file).parent / "log"
    wait_until(lambda: "POST /v1/part/" in log.read_text())
    (line,) = [line for line in log.read_text().splitlines() if "POST /v1/part/" in line]
    assert line.endswith("retried 0") and asked.place.name in line
