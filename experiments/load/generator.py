"""Sends a load, step after step, and hands over a record for each request. Unix seconds of `client.clock`.

Kept small: what is asked and when is drawn elsewhere (prompts, arrivals), and every request is written down before it
is due. Then one timer gives its bytes to a connection that waits. Run it with `event_loop.run`: other loops have timers
of whole milliseconds. It uses one processor, and says itself how late it was (`health`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import resource
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from experiments.answers import CUT
from experiments.errors import ExperimentError
from experiments.load.client import Endpoint, clock
from experiments.load.connections import Pool
from experiments.load.exchange import Exchange, Order, order
from experiments.load.health import ClientHealth, Watch
from experiments.load.prompts import Prompts
from experiments.load.records import RequestRecord
from experiments.load.steps import Step

# Connections are opened and the first request is written down before the step's clock begins.
LEAD_SECONDS = 0.25
# What is under way when the load is stopped may still end.
STOP_SECONDS = 5.0
# An endpoint that refuses at once would be asked thousands of times a second.
PAUSE_AFTER_FAILURE_SECONDS = 0.5
MOST_CONNECTIONS = 8_192
_SPARE_DESCRIPTORS = 128

Write = Callable[[RequestRecord], None]


async def run(
    endpoint: Endpoint,
    steps: Sequence[Step],
    *,
    write: Write,
    stop: asyncio.Event,
    begun: Callable[[Step], None] = lambda step: None,
) -> ClientHealth:
    """Send every step in its turn, until they ended or `stop` is set.

    `write` gets each record when its request ended; `begun` each step as it begins. After `stop` nothing more is sent,
    and what is under way gets five seconds. ExperimentError for a step or an endpoint that cannot be, before anything
    is sent; what `write` raises ends the load.
    """
    for step in steps:
        step.check()
    pool, watch, numbers = Pool(endpoint.url), Watch(), itertools.count()
    anchor = clock() - asyncio.get_running_loop().time()
    try:
        with watch.running(anchor), _undisturbed():
            for step in steps:
                if stop.is_set():
                    break
                begun(step)
                await _StepRun(step, endpoint, pool, numbers, watch, write, stop).run()
    finally:
        await pool.close()
    return watch.health()


class _StepRun:
    """One step. Requests go out from timers; a task waits for the next one, and for their ends."""

    def __init__(
        self,
        step: Step,
        endpoint: Endpoint,
        pool: Pool,
        numbers: Iterator[int],
        watch: Watch,
        write: Write,
        stop: asyncio.Event,
    ) -> None:
        self._step, self._endpoint, self._pool, self._watch = step, endpoint, pool, watch
        self._numbers, self._write, self._stop = numbers, write, stop
        self._loop = asyncio.get_running_loop()
        self._prompts: Prompts = step.prompts.begin(step.seed, step.output_lengths)
        self._most = min(step.concurrent or MOST_CONNECTIONS, _most_connections())
        self._begin = 0.0
        self._measured = 0
        self._under_way: set[Exchange] = set()
        self._waiting: deque[tuple[Order, asyncio.Future[bool] | None]] = deque()
        self._timers: dict[Exchange, asyncio.TimerHandle] = {}
        self._ends: dict[Exchange, asyncio.Future[bool]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._halt = asyncio.Event()
        self._error: Exception | None = None
        self._wake: asyncio.Future[bool] | None = None

    async def run(self) -> None:
        """Until the step's requests ended; raises what `write` raised."""
        stopping = self._loop.create_task(self._follow_stop())
        try:
            self._pool.top_up()
            self._begin = clock() + LEAD_SECONDS
            await self._pause(LEAD_SECONDS / 2)
            if self._step.arrivals is None:
                self._begin = clock()
                await asyncio.gather(*(self._user() for _ in range(self._step.concurrent)))
            else:
                await self._by_the_clock()
            await self._drain()
        finally:
            stopping.cancel()
            for exchange in list(self._under_way):
                exchange.give_up()
            for task in self._opening:
                task.cancel()
        if self._error is not None:
            raise self._error

    async def _by_the_clock(self) -> None:
        for offset in self._step.schedule():
            due = self._begin + offset
            if due - clock() > 1:  # connections that wait longer would be old by then
                await self._pause(due - clock() - 0.5)
            if self._halt.is_set() or (ready := self._order(due)) is None:
                break
            self._pool.top_up()
            gone: asyncio.Future[bool] = self._loop.create_future()
            timer = self._loop.call_at(self._loop.time() + due - clock(), self._fire, ready, gone)
            if not await self._unless_halted(gone):
                timer.cancel()
                break

    def _fire(self, ready: Order, gone: asyncio.Future[bool]) -> None:
        self._send(ready)
        if not gone.done():
            gone.set_result(True)

    async def _unless_halted(self, gone: asyncio.Future[bool]) -> bool:
        """Wait for it; False when the load is stopped first."""
        if self._halt.is_set():
            return False
        self._wake = gone
        return await gone

    async def _user(self) -> None:
        end = self._begin + self._step.warm_up_seconds + (self._step.duration_seconds or float("inf"))
        while not self._halt.is_set() and clock() < end:
            ready = self._order(None)
            if ready is None:
                return
            ended: asyncio.Future[bool] = self._loop.create_future()
            self._send(ready, ended)
            if not await ended:
                await self._pause(PAUSE_AFTER_FAILURE_SECONDS)

    def _order(self, due: float | None) -> Order | None:
        """The next request, written down; None when the step has no more."""
        warm_up = (clock() if due is None else due) < self._begin + self._step.warm_up_seconds
        if not warm_up and self._step.requests and self._measured >= self._step.requests:
            return None
        prompt = self._prompts.take()
        if prompt is None:
            return None
        self._measured += not warm_up
        return order(self._endpoint, self._step, prompt, next(self._numbers), due, warm_up)

    def _send(self, ready: Order, ended: asyncio.Future[bool] | None = None) -> None:
        if len(self._under_way) >= self._most:
            self._waiting.append((ready, ended))
            return
        exchange = Exchange(ready, self._ended)
        self._under_way.add(exchange)
        if ended is not None:
            self._ends[exchange] = ended
        self._timers[exchange] = self._loop.call_later(self._step.deadline_seconds, exchange.hang)
        connection = self._pool.take()
        if connection is not None:
            connection.send(exchange)
            self._sent(exchange)
        else:
            task = self._loop.create_task(self._open_and_send(exchange))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_and_send(self, exchange: Exchange) -> None:
        try:
            connection = await self._pool.open()
        except OSError as error:  # a TimeoutError is one
            exchange.unreachable(f"{type(error).__name__} {error}".strip())
            return
        if exchange.over:  # its deadline came, or the load was stopped
            self._pool.back(connection)
        elif not connection.usable:
            exchange.end(clock(), CUT, "the connection was ended as soon as it was made")
        else:
            connection.send(exchange)
            self._sent(exchange)

    def _sent(self, exchange: Exchange) -> None:
        if exchange.order.due is not None and exchange.sent is not None:
            self._watch.sent(exchange.sent, exchange.sent - exchange.order.due)

    def _ended(self, exchange: Exchange) -> None:
        """A request ended, whatever became of it."""
        self._under_way.discard(exchange)
        self._timers.pop(exchange).cancel()
        self._prompts.came(exchange.order.prompt, exchange.reading.text if exchange.good else None)
        try:
            self._write(exchange.record())
        except Exception as error:  # raised where the step waits: here it would end in the event loop's log
            self._error = self._error or error
            self._halt_now()
        if (ended := self._ends.pop(exchange, None)) is not None and not ended.done():
            ended.set_result(exchange.good)
        if self._waiting:
            self._loop.call_soon(self._send_waiting)  # then its connection is back
        if not self._under_way:
            self._quiet.set()

    def _send_waiting(self) -> None:
        if self._waiting and not self._halt.is_set() and len(self._under_way) < self._most:
            self._send(*self._waiting.popleft())

    async def _drain(self) -> None:
        """Wait for what is under way: to its end or deadline, or five seconds once the load is stopped."""
        while (self._under_way or self._waiting) and not self._halt.is_set():
            await self._until_quiet(None)
        self._watch.not_sent += len(self._waiting)
        self._waiting.clear()
        if self._under_way:
            await self._until_quiet(STOP_SECONDS)

    async def _until_quiet(self, seconds: float | None) -> None:
        self._quiet.clear()
        waits = [self._loop.create_task(self._quiet.wait())]
        if seconds is None:
            waits.append(self._loop.create_task(self._halt.wait()))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def _follow_stop(self) -> None:
        await self._stop.wait()
        self._halt_now()

    def _halt_now(self) -> None:
        self._halt.set()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(False)
        for ended in (*self._ends.values(), *(ended for _, ended in self._waiting)):
            if ended is not None and not ended.done():
                ended.set_result(True)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._halt.wait(), seconds)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without pauses of the garbage collector that would be seen: it looks at little each time."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(10_000, 1_000, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _most_connections() -> int:
    """As many as this process may have descriptors for; ExperimentError when that is hardly any."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft - _SPARE_DESCRIPTORS)
    if most < 1:
        raise ExperimentError(f"this process may open {soft} files; raise the limit with `ulimit -n 4096`")
    return most
