"""The process of an engine, in the locked runtime: its event loop is the one of vLLM's own server."""

from __future__ import annotations

import json
from collections.abc import Callable

CODE = """
import asyncio, json, socket
from deploys.vllm.programs.engine_process import loop_factory

async def main():
    replica, engine = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=engine)
    replica.sendall(b"an order\\n")
    heard = await reader.readline()
    writer.write(b"proven\\n")
    await writer.drain()
    loop = type(asyncio.get_running_loop()).__module__
    return {"loop": loop, "heard": heard.decode(), "said": replica.recv(100).decode()}

with asyncio.Runner(loop_factory=loop_factory()) as runner:
    print(json.dumps(runner.run(main())))
"""


def test_it_has_the_event_loop_of_vllms_server_and_hears_its_replica_there(said: Callable[..., str]) -> None:
    assert json.loads(said(CODE, seconds=60)) == {"loop": "uvloop", "heard": "an order\n", "said": "proven\n"}
