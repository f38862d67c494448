"""Lanes that take turns at one load, so that what slows the machine down slows all of them: the runs of `gateway`.

Bare is vLLM's own server, replica the cluster's engine asked directly, gateway the same engine through the gateway.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments import measures
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.tool import Tool, ToolRun, Work
from experiments.report.gateway import DIRECT, GATEWAY, REPLICA, compared
from experiments.servers import Server


def take_turns(
    tool: Tool,
    work: Work,
    places: Mapping[str, str],
    gateway: Server,
    blocks: int,
    misses: list[str],
    seconds: float = math.inf,
    after_block: Callable[[dict[str, Any]], None] = lambda measured: None,
) -> dict[str, Any]:
    """Blocks of every lane of `places` in its order and back again; a run that failed is a miss.

    Bare and gateway ask the same in each half of a block, so that they differ in nothing but the way, and no engine is
    asked the same twice, which it would find in its prefix cache: replica and gateway are one engine, so the replica is
    asked other prompts. No block but the first begins after `seconds`; `after_block` gets what is measured so far.
    """
    runs: dict[str, list[ToolRun]] = {kind: [] for kind in places}
    order = (*places, *reversed(list(places)))
    by_block: list[dict[str, list[ToolRun]]] = []
    processor = 0.0
    measured: dict[str, Any] = {}
    begun = time.monotonic()
    for block in range(blocks):
        if block and time.monotonic() - begun > seconds:
            break
        by_block.append({kind: [] for kind in places})
        for turn, kind in enumerate(order):
            half = 2 * block + (turn >= len(places))
            asked = Work(**{**vars(work), "seed": 2 * half + 1 + (kind == REPLICA)})
            before = gateway.processor_seconds()
            try:
                done = tool.run(asked, places[kind])
            except ExperimentError as error:
                misses.append(f"{work.concurrent} at once, {kind}: {error}")
                continue
            said = f"{work.concurrent} at once, {kind}: {done.completed} requests in {done.seconds:.2f} s"
            print(f"{'run':8} {said}", flush=True)
            if done.failed:
                misses.append(f"{work.concurrent} at once, {kind}: {done.failed} of {work.requests} requests failed")
            if kind == GATEWAY:
                processor += gateway.processor_seconds() - before
            runs[kind].append(done)
            by_block[-1][kind].append(done)
        measured = _figures(runs, processor, work.concurrent)
        measured["paired"] = paired(by_block, DIRECT, GATEWAY)
        after_block(measured)
    return measured


def paired(blocks: Sequence[Mapping[str, Sequence[ToolRun]]], base: str, other: str) -> dict[str, Any]:
    """The other lane beside the base, block by block, with 95 % intervals: what a block had in common is not in them.

    Differences of the first token's percentiles in milliseconds, and the ratio of the requests a second. A block in
    which a run of either lane failed is left out.
    """
    both = [
        (load_tool.figures(block[base]), load_tool.figures(block[other]))
        for block in blocks
        if len(block[base]) == len(block[other]) == 2
    ]
    found: dict[str, Any] = {
        f"first_token_{share}_ms": measures.interval(
            [
                two["first_token_ms"][share] - one["first_token_ms"][share]
                for one, two in both
                if one["first_token_ms"][share] is not None and two["first_token_ms"][share] is not None
            ]
        )
        for share in load_tool.SHARES
    }
    rates = [(one["requests_a_second"], two["requests_a_second"]) for one, two in both]
    return {**found, "requests_ratio": measures.interval([two / one for one, two in rates if one])}


def _figures(runs: Mapping[str, list[ToolRun]], processor: float, concurrent: int) -> dict[str, Any]:
    measured: dict[str, Any] = {kind: load_tool.figures(done) for kind, done in runs.items()}
    # The warm-ups of each run passed the gateway too.
    passed = sum(run.completed + concurrent for run in runs[GATEWAY])
    measured["gateway_processor_ms_a_request"] = round(processor / passed * 1000, 3) if passed else None
    if REPLICA in measured:
        measured["gateway_over_replica"] = compared(measured[REPLICA], measured[GATEWAY])
        measured["replica_over_direct"] = compared(measured[DIRECT], measured[REPLICA])
    return {**measured, **compared(measured[DIRECT], measured[GATEWAY])}
