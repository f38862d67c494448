"""A load tool of our own that needs no runtime: the same work as vLLM's tool, less exactly timed. Seconds.

For trying out what measures. Published figures come from `vllm bench serve` (tool.py).
"""

from __future__ import annotations

import asyncio
import itertools
import json

import httpx

from experiments.errors import ExperimentError
from experiments.load.client import client, clock
from experiments.load.tool import ToolRun, Work


class PlainTool:
    """A Tool: `work.concurrent` workers that stream one answer after the other."""

    def run(self, work: Work, url: str) -> ToolRun:
        """ExperimentError when a server answers with another status than 200, or not at all."""
        try:
            return asyncio.run(_run(work, url))
        except* (httpx.HTTPError, TimeoutError) as several:
            first = several.exceptions[0]
            raise ExperimentError(f"{url}: {type(first).__name__} {first}") from None


async def _run(work: Work, url: str) -> ToolRun:
    numbers = itertools.count()
    gaps: list[list[float]] = []
    tokens = 0
    begun = clock()

    async def worker(session: httpx.AsyncClient) -> None:
        nonlocal tokens
        while next(numbers) < work.requests:
            seen = await _one(session, work, url)
            gaps.append([after - before for before, after in itertools.pairwise(seen)])
            tokens += len(seen) - 1

    async with client(work.concurrent) as session, asyncio.TaskGroup() as group:
        for _ in range(work.concurrent):
            group.create_task(worker(session))
    first = tuple(each[0] for each in gaps[work.concurrent :] if each)
    between = tuple(gap for each in gaps for gap in each[1:])
    return ToolRun(clock() - begun, len(gaps), 0, tokens, first, between)


async def _one(session: httpx.AsyncClient, work: Work, url: str) -> list[float]:
    """When the request began, and when each of its tokens came."""
    body = {
        "model": work.model,
        "messages": [{"role": "user", "content": "a " * work.input_tokens}],
        "max_tokens": work.output_tokens,
        "stream": True,
    }
    seen = [clock()]
    async with asyncio.timeout(60), session.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {") and json.loads(line.removeprefix("data: ")).get("choices"):
                seen.append(clock())
    return seen
