"""Kept connections to one endpoint. A request is timed from just before its first byte goes to the socket. Seconds.

A connection that waits is there before a request is due, so that what is measured is no handshake. One that waited long
is ended here: servers end theirs after five seconds, and a request must not meet that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from urllib.parse import urlsplit

from experiments.errors import ExperimentError
from experiments.load.client import clock
from experiments.load.exchange import Exchange

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 4.0
SPARE = 4


class Connection(asyncio.Protocol):
    """One connection: one exchange at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        # What came and when, to be read once every connection of this turn of the loop has its time: an engine gives
        # the tokens of a step to all of its requests at once, and reading one must not make the next one late.
        self._came: list[tuple[float, bytes]] = []
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    def send(self, exchange: Exchange) -> None:
        """Give the request to the socket, now."""
        assert self._transport is not None and self._exchange is None  # noqa: S101 (the pool gives no other)
        self._exchange = exchange
        exchange.cut = self.close
        exchange.sent = clock()
        self._transport.write(exchange.order.data)

    def close(self) -> None:
        """End it at once; whatever was to come does not."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (create_connection makes no other)
        self._transport = transport
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._came.append((clock(), data))
        if len(self._came) == 1:
            self._pool.loop.call_soon(self._read)

    def _read(self) -> None:
        came, self._came = self._came, []
        for at, data in came:
            exchange = self._exchange
            if exchange is None:  # a server that talks without being asked, as in a 408 before it ends the connection
                self.close()
                return
            exchange.received(data, at)
            if exchange.over and self._exchange is exchange:
                self._exchange = None
                if exchange.answer.complete and exchange.answer.keep:
                    self._pool.back(self)
                else:
                    self.close()

    def connection_lost(self, error: Exception | None) -> None:
        at = clock()
        self._read()
        exchange = self._exchange
        self._exchange = self._transport = None
        self._pool.gone(self)
        if exchange is not None and not exchange.over:
            exchange.closed(at, str(error) if error else "")


class Pool:
    """Connections to the endpoint at `url`. ExperimentError for an address that is none."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ExperimentError(f"endpoint {url!r}: give an address such as http://127.0.0.11:8000/v1")
        self._host, self._port = parts.hostname, port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.loop = asyncio.get_running_loop()

    def take(self) -> Connection | None:
        """One that waits, the one that was used last; None when there is none."""
        self._end_old()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def back(self, connection: Connection) -> None:
        """It can take another request."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)

    def gone(self, connection: Connection) -> None:
        """It has ended."""
        self._all.discard(connection)

    async def open(self) -> Connection:
        """A new one; OSError or TimeoutError when the endpoint cannot be reached."""
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await self.loop.create_connection(
                lambda: Connection(self), self._host, self._port, ssl=self._tls
            )
        self._all.add(connection)
        return connection

    def top_up(self, spare: int = SPARE) -> None:
        """Begin to open connections until `spare` wait."""
        self._end_old()
        for _ in range(spare - len(self._idle) - len(self._opening)):
            task = self.loop.create_task(self._spare())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _spare(self) -> None:
        # A request that finds none opens its own, and says then what is wrong.
        with contextlib.suppress(OSError):
            self.back(await self.open())

    def _end_old(self) -> None:
        old = self.loop.time() - IDLE_SECONDS
        while self._idle and (self._idle[0].idle_since < old or not self._idle[0].usable):
            connection = self._idle.popleft()
            connection.close()

    async def close(self) -> None:
        """End all of them."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)  # the transports tell their connections on the loop's next turn
