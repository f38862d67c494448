"""The way from the operator's machine to the cluster's API: straight, or through SSH to the control node.

The operator need not be on the cluster's network. Where the endpoint does not answer, an `ssh` forwards a Unix socket
of the operator's own to it, for as long as the conversation lasts.
"""

from __future__ import annotations

import contextlib
import selectors
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from operate.api import api_key, reachable
from operate.chat.failures import Unreachable
from operate.chat.stream import Api
from operate.clusters import ClusterInventory
from operate.ssh import ssh_command

FORWARD_SECONDS = 20.0
_STANDS = "forwarded"


class Forward:
    """A Unix socket here that leads to `address`:`port` as the far end of `ssh` sees it. ChatError if it cannot stand.

    The socket lies in a directory that only this user can enter; a port on loopback would be open to everyone here. The
    far end runs `cat` on our pipe: it ends when this process does, however that ends. ssh has a session of its own, so
    that a Ctrl-C in this terminal is not for it.
    """

    def __init__(self, ssh: list[str], address: str, port: int, *, seconds: float = FORWARD_SECONDS) -> None:
        *options, place = ssh
        self._directory = Path(tempfile.mkdtemp(prefix="cluster-chat-"))
        self.socket = str(self._directory / "api")
        options += ["-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
        options += ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-T", "-L", f"{self.socket}:{address}:{port}"]
        with (self._directory / "said").open("wb") as said:
            try:
                self._process = subprocess.Popen(
                    [*options, place, f"echo {_STANDS}; exec cat"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                shutil.rmtree(self._directory, ignore_errors=True)
                raise Unreachable(f"ssh could not be started: {error.strerror}; install OpenSSH's client") from None
        try:
            stands = self._wait(seconds)
        except BaseException:
            self.close()
            raise
        if not stands:
            why = self._said() or f"no answer within {seconds:.0f} s"
            self.close()
            raise Unreachable(f"{place}: no way to {address}:{port} through SSH: {why}; try `{' '.join(ssh)} true`")

    @property
    def alive(self) -> bool:
        """Whether it still stands."""
        return self._process.poll() is None

    def close(self) -> None:
        """End ssh and take the socket away."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait(self, seconds: float) -> bool:
        """Until the far end has said so: by then ssh has the socket, or has ended because it could not."""
        deadline, heard = time.monotonic() + seconds, b""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 (a pipe was asked for)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    continue
                received = stdout.read1(4096)  # type: ignore[attr-defined]  # a pipe's reader is buffered
                heard += received
                if _STANDS.encode() in heard:
                    return True
                if not received:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(timeout=3)
                    return False
        return False

    def _said(self) -> str:
        lines = (self._directory / "said").read_text(errors="replace").strip().splitlines()
        return " ".join(lines[-2:])[-300:]


class Link:
    """Gives an Api that can be used now. It looks again where the last way is gone, so a session outlives an outage."""

    def __init__(self, cluster: ClusterInventory) -> None:
        self._cluster = cluster
        self._api: Api | None = None
        self._forward: Forward | None = None

    @property
    def forwarded(self) -> bool:
        """Whether the way is through SSH."""
        return self._forward is not None

    def api(self) -> Api:
        """ChatError when there is no way; OperatorError when the API key cannot be read."""
        if self._forward and not self._forward.alive:
            self.close()
        if self._api is None:
            self._api = self._open()
        return self._api

    def renew(self) -> None:
        """Forget the way: it led nowhere."""
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._api:
            self._api.close()
        if self._forward:
            self._forward.close()
        self._api = self._forward = None

    def _open(self) -> Api:
        settings = self._cluster.control.settings
        key = api_key(self._cluster)
        url = settings.endpoint
        parts = urlsplit(url)
        address, port = parts.hostname or "", parts.port or 80
        if "ssh_user" in self._cluster.control.data and not reachable(address, port):
            self._forward = Forward(ssh_command(self._cluster.control), address, port)
        return Api(
            url,
            command=self._cluster.command,
            key=key,
            key_file=settings.secrets["api-key"] if key else "",
            socket=self._forward.socket if self._forward else None,
        )
