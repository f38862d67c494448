"""Load and faults beside each other, on one event loop: what the phases benchmark and chaos do. Unix seconds.

Ctrl-C ends the load at once and lets requests that are under way end for a few seconds; a second one ends that too.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from experiments.bundle.journal import Journal
from experiments.load import event_loop, generator
from experiments.load.client import Endpoint, clock
from experiments.load.health import ClientHealth
from experiments.load.records import RecordWriter, RequestRecord
from experiments.load.steps import Step
from operate.progress import Progress

Beside = Callable[["Measuring"], Coroutine[Any, Any, Any]]
Around = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass
class Measuring:
    """A load under way, as what runs beside it sees it. `measured`: set when the first step's warm-up is over."""

    journal: Journal
    progress: Progress
    stop: asyncio.Event
    measured: asyncio.Event
    began: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What came of it: the client's own health (None: no load was sent), and what each of `beside` returned."""

    began: float
    ended: float
    health: ClientHealth | None
    beside: tuple[Any, ...]


def measure(
    endpoint: Endpoint | None,
    steps: Sequence[Step],
    writer: RecordWriter | None,
    journal: Journal,
    progress: Progress,
    *,
    first_number: int = 0,
    beside: Sequence[Beside] = (),
    around: Around | None = None,
) -> Measured:
    """Send the steps within `around`, with `beside` running meanwhile. `endpoint` None: there are no steps.

    KeyboardInterrupt when it was stopped; all records are written then.
    The load waits for what runs beside it to end (a fault that heals after the last step). What raises in one of them
    stops the others.
    """
    return event_loop.run(_measure(endpoint, steps, writer, journal, progress, first_number, beside, around))


async def _measure(
    endpoint: Endpoint | None,
    steps: Sequence[Step],
    writer: RecordWriter | None,
    journal: Journal,
    progress: Progress,
    first_number: int,
    beside: Sequence[Beside],
    around: Around | None,
) -> Measured:
    state = Measuring(journal, progress, asyncio.Event(), asyncio.Event(), clock())
    with _interruptible(state) as interrupted:
        error: BaseException | None = None
        tasks: list[asyncio.Task[Any]] = []
        loading: asyncio.Task[ClientHealth] | None = None
        try:
            async with (around or contextlib.nullcontext)(), asyncio.TaskGroup() as group:
                tasks = [group.create_task(work(state)) for work in beside]
                if steps and endpoint is not None:
                    loading = group.create_task(_load(endpoint, steps, writer, first_number, state))
                else:
                    state.measured.set()
        except BaseExceptionGroup as several:
            error = _first(several)
        except asyncio.CancelledError as cancelled:
            error = cancelled
    if interrupted:
        raise KeyboardInterrupt
    if error is not None:
        raise error
    health = loading.result() if loading is not None else None
    return Measured(state.began, clock(), health, tuple(task.result() for task in tasks))


async def _load(
    endpoint: Endpoint, steps: Sequence[Step], writer: RecordWriter | None, first_number: int, state: Measuring
) -> ClientHealth:
    loop, running = asyncio.get_running_loop(), [""]

    def write(record: RequestRecord) -> None:
        if writer is not None:
            writer.write(replace(record, number=record.number + first_number))

    def begun(step: Step) -> None:
        _ended(state.journal, running[0])
        running[0] = step.name
        state.journal.add("step", step=step.name, state="began", warm_up_seconds=step.warm_up_seconds)
        state.progress.phase(f"load {step.name}: {step.warm_up_seconds + step.duration_seconds:.0f} s")
        if not state.measured.is_set():
            loop.call_later(generator.LEAD_SECONDS + step.warm_up_seconds, state.measured.set)

    health = await generator.run(endpoint, steps, write=write, stop=state.stop, begun=begun)
    if not state.stop.is_set():
        _ended(state.journal, running[0])
    return health


def _ended(journal: Journal, step: str) -> None:
    if step:
        journal.add("step", step=step, state="ended")


@contextlib.contextmanager
def _interruptible(state: Measuring) -> Iterator[list[int]]:
    """Ctrl-C sets `stop`; a second one cancels all that runs. Gives a list that has the signals that came."""
    loop, came = asyncio.get_running_loop(), list[int]()
    main = asyncio.current_task()

    def stop() -> None:
        came.append(signal.SIGINT)
        state.stop.set()
        state.progress.note("stopping: requests under way may end, and faults are healed (again: at once)")
        if len(came) > 1 and main is not None:
            main.cancel()

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield came
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    found = several.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
