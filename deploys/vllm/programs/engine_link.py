"""A replica's end of the connection to the process of its engine (engine_process).

Runs on the cluster's nodes inside the locked runtime, in the replica.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SOCKET_VARIABLE = "CLUSTER_ENGINE_SOCKET"
# What Ray decides for a replica, and what its engine has to know.
_HANDED_ON = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
LEAVE_SECONDS = 38.0
# It says something every second; a processor that others use as well makes that two. A process that says nothing for
# this long is stopped, or stands still: the engine itself looks after all else (engine_proof).
SILENT_SECONDS = 20.0


class EngineEndedError(RuntimeError):
    """The process of the engine has ended, or could not start it."""


class EngineUnfitError(RuntimeError):
    """The engine runs and must not serve."""


class Link:
    """The connection. `state`, `reason`: what the engine said last of itself, `heard`: when, in monotonic seconds."""

    def __init__(self) -> None:
        self.state, self.reason, self.heard = "starting", "", time.monotonic()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._failed = ""
        self._group = 0

    async def start(self, order: dict[str, Any], gone: Callable[[str], None]) -> None:
        """Ask for the engine, return when it has proven itself; EngineEndedError with its words where it does not.

        `gone` is called, with why, when it ends after that.
        """
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        line = json.dumps({**order, "environment": environment}).encode() + b"\n"
        connection = await asyncio.to_thread(_asked, line)
        reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=1_000_000)
        proven: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._hearing = asyncio.create_task(self._hear(reader, proven, gone))
        await proven

    async def call(self, method: str, arguments: list[Any]) -> Any:
        """What the engine answers to a call of vLLM's collective_rpc, as text; EngineEndedError where it refuses."""
        number = len(self._waiting)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._say(call=number, method=method, arguments=arguments)
        return await self._waiting[number]

    async def leave(self) -> None:
        """Have it end what it has begun, and go."""
        if self._writer is None or self._hearing.done():
            return
        self._say(leave=True)
        await asyncio.wait([self._hearing], timeout=LEAVE_SECONDS)
        self._writer.close()

    def judge(self) -> None:
        """EngineUnfitError, and the end of the engine, where it says nothing any more."""
        silent = time.monotonic() - self.heard
        if silent > SILENT_SECONDS:
            self._end_group()
            raise EngineUnfitError(f"the process of the engine has said nothing for {silent:.0f} s")

    def _say(self, **message: Any) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _hear(
        self, reader: asyncio.StreamReader, proven: asyncio.Future[Any], gone: Callable[[str], None]
    ) -> None:
        left = False
        try:
            while line := await reader.readline():
                self.heard = time.monotonic()
                message = json.loads(line)
                left = left or message.get("left", False)
                self._group = message.get("group", self._group)
                self._failed = message.get("failed", self._failed)
                self.state, self.reason = message.get("state", self.state), message.get("reason", self.reason)
                if message.get("proven"):
                    proven.set_result(True)
                if "call" in message:
                    self._answered(message)
        except ConnectionError:
            pass
        if not left:
            self._end_group()
        why = self._failed or "the process of the engine has ended"
        if not proven.done():
            proven.set_exception(EngineEndedError(why))
        elif not left:
            gone(why)

    def _end_group(self) -> None:
        """End what an engine's process leaves behind when it is killed: its core and worker would wait for ever."""
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)

    def _answered(self, message: dict[str, Any]) -> None:
        waiting = self._waiting[message["call"]]
        if "error" in message:
            waiting.set_exception(EngineEndedError(message["error"]))
        else:
            waiting.set_result(message["answer"])


def begin(kind: str, argument: str, *descriptors: int) -> None:
    """Start engine_process. One thread for each engine, whatever Ray would give it: several share a machine's."""
    subprocess.Popen(
        [sys.executable, "-P", "-m", "deploys.vllm.programs.engine_process", kind, argument],
        stdin=subprocess.DEVNULL,
        # An engine core gives itself another name, not to be written over the environment, which tells its node.
        env={**os.environ, "OMP_NUM_THREADS": "1", "SPT_NOENV": "1"},
        pass_fds=descriptors,
    )


def _asked(line: bytes) -> socket.socket:
    """A connection on which the order was given: to the node's process that has vLLM loaded, or to a new one."""
    path = os.environ.get(SOCKET_VARIABLE, "")
    if path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            _give(connection, line)
        except OSError as error:
            connection.close()
            print(f"{path}: {error}: vLLM is loaded for this engine alone", flush=True)
        else:
            return connection
    ours, theirs = socket.socketpair()
    with theirs:
        begin("one", str(theirs.fileno()), theirs.fileno())
    _give(ours, line)
    return ours


def _give(connection: socket.socket, line: bytes) -> None:
    """The order, with where this process writes: the engine's lines stand in the replica's log."""
    sent = socket.send_fds(connection, [line], [1, 2])
    connection.sendall(line[sent:])
