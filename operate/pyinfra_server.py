"""Starts work in forks of one child process that has pyinfra loaded (operate/pyinfra_process.py).

The child is started with the first piece of work and ends with this process. Work may be started from several threads.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Literal

from facts.sources import REPOSITORY

WORD_BYTES = 8
TAKE_BACK_SECONDS = 10.0


class Work:
    """A fork at work: its pipes, its process group, its end."""

    def __init__(self, process: int, stdin: int, stdout: int, stderr: int, status: int) -> None:
        self.process = process
        self.stdin: IO[str] = os.fdopen(stdin, "w")
        self.stdout: IO[str] = os.fdopen(stdout)
        self.stderr: IO[str] = os.fdopen(stderr)
        self._status = status

    def wait(self) -> int:
        """Its exit status; -1 for one that was killed."""
        said = b""
        while received := os.read(self._status, 16):
            said += received
        os.close(self._status)
        return int(said or b"-1")

    def ended(self, *, within: float) -> bool:
        """Whether it ended within so many seconds."""
        readable, _, _ = select.select([self._status], [], [], within)
        return bool(readable)

    def signal(self, number: int) -> None:
        """Send a signal to it and its children; none where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, number)

    def close(self) -> None:
        """Close what is open."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


class _Server:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start(
        self, work: Literal["observe", "pyinfra"], arguments: Sequence[str], environment: Mapping[str, str]
    ) -> Work:
        """Begin a piece of work in the repository's directory."""
        order = {
            "work": work,
            "arguments": list(arguments),
            "directory": str(REPOSITORY),
            "environment": dict(environment),
        }
        (in_read, in_write), (out_read, out_write), (err_read, err_write), (status_read, status_write) = (
            os.pipe() for _ in range(4)
        )
        theirs = array.array("i", (in_read, out_write, err_write, status_write))
        try:
            with self._lock:
                orders = self._running()
                message = json.dumps(order).encode()
                length = len(message).to_bytes(WORD_BYTES, "big")
                try:
                    orders.sendmsg([length], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, theirs)])
                    orders.sendall(message)
                    said = orders.recv(WORD_BYTES)
                except KeyboardInterrupt:
                    self._take_back(orders)
                    raise
            if not said:
                raise ChildProcessError("the process that runs pyinfra has ended")
        except BaseException:
            for descriptor in (in_write, out_read, err_read, status_read):
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return Work(int.from_bytes(said, "big"), in_write, out_read, err_read, status_read)

    def _running(self) -> socket.socket:
        """The socket of the child, which is started where it is not there; a fork of this process has its own."""
        alive = self._process is not None and self._owner == os.getpid() and self._process.poll() is None
        if self._socket is None or not alive:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "operate.pyinfra_process", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    cwd=REPOSITORY,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._socket, self._owner = ours, os.getpid()
        return self._socket

    def _take_back(self, orders: socket.socket) -> None:
        """End what an order has begun whose answer nobody waits for, and the child with it."""
        with contextlib.suppress(OSError):
            orders.settimeout(TAKE_BACK_SECONDS)
            if said := orders.recv(WORD_BYTES):
                os.kill(int.from_bytes(said, "big"), signal.SIGKILL)
        orders.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None

    def stop(self) -> None:
        """End the child; work that is under way goes on to its end."""
        if self._socket and self._process and self._owner == os.getpid():
            self._socket.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)


_SERVER = _Server()
atexit.register(_SERVER.stop)
start = _SERVER.start
