"""The process of an engine, and the one that has vLLM loaded before an engine is asked for.

    engine_process.py ready SOCKET    load vLLM once, then fork a process for each engine that is asked for on SOCKET
    engine_process.py one DESCRIPTOR  be the process of one engine, asked for on this end of a socket pair

Runs on the cluster's nodes inside the locked runtime. vLLM's API, its engine core and its worker would each load the
same gigabyte, one after the other. Here it is loaded once, while the node still joins Ray, and every engine's processes
are forks of that. The other end is a replica of Ray Serve (engine_link): it sends an order with its standard output and
error, one JSON object, and hears in lines of JSON how the engine is. The end of the connection is the end of the engine
and of all its processes.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploys.programs import private_names

TELL_SECONDS = 1.0
DESCRIPTORS = 2
ORDER_BYTES = 1_000_000
# A replica waits for the engine; who asks on this socket and says nothing does not hold up others for ever.
ORDER_SECONDS = 10.0


def ready(path: str) -> None:
    """Fork for every order; never returns. Orders that come while vLLM is still being loaded wait."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    place.chmod(0o600)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    gc.disable()  # some thousand modules are loaded, and nothing of them is garbage
    from deploys.vllm.programs import vllm_engine  # noqa: F401 (for the forks)

    private_names.load_engine(os.environ.get("CLUSTER_ENGINE_MODEL", ""))
    gc.collect()
    gc.freeze()  # what is loaded stays; a collection must not write into pages that are shared with the forks
    gc.enable()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _fork(connection)
        connection.close()


def _fork(connection: socket.socket) -> None:
    """The process of one engine; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        status = one(connection)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def one(connection: socket.socket) -> int:
    """Take the order and run its engine; returns the exit status."""
    connection.settimeout(ORDER_SECONDS)
    order, descriptors = _order(connection)
    connection.settimeout(None)
    for number, descriptor in zip((1, 2), descriptors, strict=False):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(order["environment"])
    threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(order, connection))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of vLLM's own server, where the runtime has it; None is Python's own, which is slower."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def _order(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The first line; ConnectionError where it does not come."""
    said, descriptors, _, _ = socket.recv_fds(connection, ORDER_BYTES, DESCRIPTORS)
    while said and not said.endswith(b"\n"):
        more = connection.recv(ORDER_BYTES)
        said = said + more if more else b""
    if not said:
        raise ConnectionError("no order came")
    return json.loads(said), descriptors


def _end_with(descriptor: int) -> None:
    """End this engine and all its processes when the other end is gone: whoever asked for it was killed, or is done.

    In a thread of its own: while an engine starts, the event loop stands still for as long as that takes.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    while not poll.poll():
        pass
    os.killpg(0, signal.SIGKILL)


async def _run(order: dict[str, Any], connection: socket.socket) -> int:
    """Start the engine, then say how it is until it ends or has to."""
    from deploys.vllm.programs.vllm_engine import VllmEngine

    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=ORDER_BYTES)

    def say(**message: Any) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    say(group=os.getpgrp())
    engine = VllmEngine(order, lambda reason: say(failed=reason))
    try:
        await engine.start()
    except Exception as error:  # whatever it is, the replica has to say it
        say(failed=f"{type(error).__name__}: {error}")
        await writer.drain()
        sys.excepthook(*sys.exc_info())
        return 1
    say(proven=True)
    hearing = asyncio.create_task(_hear(engine, reader, say))
    while not hearing.done():
        state, reason = engine.life.state()
        say(state=state, reason=reason)
        await asyncio.wait([hearing], timeout=TELL_SECONDS)
    await engine.leave()
    engine.stop()
    say(left=True)
    await writer.drain()
    return 0


async def _hear(engine: Any, reader: asyncio.StreamReader, say: Any) -> None:
    """What the replica wants, until it wants the engine to leave."""
    while line := await reader.readline():
        message = json.loads(line)
        if message.get("leave"):
            return
        try:
            answer = await engine.call(message["method"], message["arguments"])
            say(call=message["call"], answer=repr(answer)[:200])
        except Exception as error:
            say(call=message["call"], error=f"{type(error).__name__}: {error}")


def main() -> int:
    """Exit status of one engine's process."""
    kind, argument = sys.argv[1:3]
    if kind == "ready":
        ready(argument)
    os.setsid()
    return one(socket.socket(fileno=int(argument)))


if __name__ == "__main__":
    sys.exit(main())
