"""Child process that loads pyinfra once and forks for each piece of work: loading it takes longer than most work does.

It is a process of its own because pyinfra works on gevent, which rewires sockets and threads of whoever imports it.
On its socket (the descriptor in its argument) come orders: the length of one in eight bytes, with the file descriptors
that become the fork's standard input, output and error and one on which the fork writes its exit status, then JSON:
{"work": "observe" | "pyinfra", "arguments": [...], "directory": ..., "environment": {...}}. The answer is the fork's
process id in eight bytes. The end of the socket is the end of this process.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import array  # noqa: E402 (gevent has to patch the standard library before anything uses it)
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from contextlib import suppress  # noqa: E402
from typing import Any  # noqa: E402

from operate import observer  # noqa: E402

DESCRIPTORS = 4
WORD_BYTES = 8


def observe() -> int:
    """Facts: the order on standard input, the answers on standard output."""
    observer.main()
    return 0


def pyinfra(arguments: list[str]) -> int:
    """pyinfra's own command line."""
    from pyinfra_cli.main import main  # type: ignore[import-untyped]

    sys.argv = ["pyinfra", *arguments]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def work(order: dict[str, Any], descriptors: list[int]) -> None:
    """The fork: never returns."""
    *standard, status = descriptors
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["directory"])
        code = observe() if order["work"] == "observe" else pyinfra(order["arguments"])
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(status, str(code).encode())
        os._exit(code)


def main() -> None:
    """Fork for every order until the socket ends."""
    # Not gevent's, which would begin an event loop: forks begin their own, and a loop does not survive a fork as it is.
    orders = monkey.get_original("socket", "socket")(fileno=int(sys.argv[1]))
    fork = monkey.get_original("os", "fork")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
    while True:
        length, ancillary, _, _ = orders.recvmsg(WORD_BYTES, room)
        if not length:
            break
        message = _exactly(orders, int.from_bytes(length, "big"))
        descriptors = array.array("i", ancillary[0][2]).tolist()
        process = fork()
        if process == 0:
            orders.close()
            work(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            orders.sendall(process.to_bytes(WORD_BYTES, "big"))
        except OSError:
            os.kill(process, signal.SIGKILL)  # nobody waits for it any more
            break
        _reap(os.WNOHANG)
    _reap(0)


def _exactly(orders: Any, length: int) -> bytes:
    received = b""
    while len(received) < length:
        received += orders.recv(length - len(received))
    return received


def _reap(options: int) -> None:
    """Take the status of forks that have ended: their processor time is then counted."""
    with suppress(ChildProcessError):
        while monkey.get_original("os", "waitpid")(-1, options)[0]:
            pass


if __name__ == "__main__":
    main()
