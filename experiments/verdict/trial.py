"""A short load on one endpoint, with all that a judgement wants of it: for trying out the judgement itself.

What an experiment does with a cluster this does with an engine alone: load, the client's machine, the engine's metrics.
Unix seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.load import event_loop, generator
from experiments.load.client import Endpoint, clock
from experiments.load.health import ClientHealth
from experiments.load.records import RequestRecord
from experiments.load.steps import Step
from experiments.verdict import server
from experiments.verdict.verdict import Verdict, judge
from experiments.verdict.watch import Watch, Watched, watching
from facts.programs import direct

LOOK_SECONDS = 0.5
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Beside = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Trial:
    """What came of it. `rows`, `logs` and `spans` are metrics, lines and spans as in a bundle's tables."""

    records: list[RequestRecord]
    health: ClientHealth
    watched: Watched
    rows: list[dict[str, Any]]
    logs: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def judged(self, **more: Any) -> Verdict:
        """The verdict; `more` goes to `judge`."""
        seen = server.from_rows(self.rows, self.logs, self.spans)
        return judge(self.records, self.health, seen, watched=self.watched, **more)


def run(
    url: str,
    steps: Sequence[Step],
    *,
    model: str = "stub",
    watch: Watch | None = None,
    beside: Beside | None = None,
    keep: Callable[[RequestRecord], bool] = lambda record: True,
) -> Trial:
    """Send the steps to the engine at `url` (without /v1) and watch both ends.

    `beside` runs on the load's event loop until the load ends; records that `keep` refuses are lost. ExperimentError
    for a step that cannot be.
    """
    found: list[RequestRecord] = []

    def write(record: RequestRecord) -> None:
        if keep(record):
            found.append(record)

    with _metrics(f"{url}/metrics") as rows, watching(watch) as looks:
        health = event_loop.run(_load(Endpoint(f"{url}/v1", model), steps, write, beside))
        watched = looks.watched()
    return Trial(found, health, watched, rows)


async def _load(
    endpoint: Endpoint, steps: Sequence[Step], write: Callable[[RequestRecord], None], beside: Beside | None
) -> ClientHealth:
    task = asyncio.ensure_future(beside()) if beside is not None else None
    try:
        return await generator.run(endpoint, steps, write=write, stop=asyncio.Event())
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.contextmanager
def _metrics(url: str) -> Iterator[list[dict[str, Any]]]:
    """Look at the engine's metrics twice a second; a look that it does not answer is missing."""
    rows: list[dict[str, Any]] = []
    stop = threading.Event()

    def look() -> None:
        with contextlib.suppress(OSError, ValueError), direct.opened(url, 2.0) as stream:
            rows.extend(rows_of(stream.read().decode(errors="replace"), clock(), "stub"))

    def look_on() -> None:
        while not stop.wait(LOOK_SECONDS):
            look()

    look()
    thread = threading.Thread(target=look_on, name="looks at the engine's metrics", daemon=True)
    thread.start()
    try:
        yield rows
    finally:
        stop.set()
        thread.join()
        look()


def rows_of(text: str, at: float, node: str) -> list[dict[str, Any]]:
    """Samples of Prometheus' text format as rows of a bundle's table; lines that are none are left out. Pure."""
    rows = []
    for line in text.splitlines():
        if (sample := _SAMPLE.match(line)) is None:
            continue
        try:
            value = float(sample["value"])
        except ValueError:
            continue
        labels = json.dumps(dict(_LABEL.findall(sample["labels"] or "")))
        rows.append({"at": at, "node": node, "name": sample["name"], "labels": labels, "value": value})
    return rows
