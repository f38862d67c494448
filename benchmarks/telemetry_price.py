"""What an experiment's telemetry costs those who ask: the same load with observers on every host and without, in turns.

`python -m benchmarks.telemetry_price`: a cluster that serves is asked in `--pairs` pairs of runs, each pair beginning
with the other kind. Aims: ITL P50 at most +0.5 %, TTFT P99 at most +1 %. A pair's difference has the machine's noise in
it, so each figure has an interval over the pairs, and what lies within that is not told apart. Exit 0: no aim is surely
missed. 1: one is, with all of its interval. 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import run
from experiments import machine, measures, servers
from experiments.errors import ExperimentError
from experiments.load.plain import PlainTool
from experiments.load.tool import ToolRun, Work
from experiments.measures import percentile
from experiments.report import markdown, results
from experiments.report.progress import show
from experiments.telemetry import live
from experiments.telemetry.observers import PERIOD_SECONDS
from facts.sources import REPOSITORY
from operate import clusters
from operate.clusters import ClusterInventory
from operate.errors import OperatorError

NAME = "telemetry_price"
ON, OFF = "observed", "alone"
# Share of the figure without telemetry that it may cost.
AIMS = {"itl_p50": 0.005, "ttft_p99": 0.01}
_SAID = {"itl_p50": "ITL P50", "ttft_p99": "TTFT P99"}


def main(arguments: list[str] | None = None) -> int:
    """Measure in turns; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--cluster", default="laptop", help="name or path of its inventory")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--requests", type=int, default=60, help="in each run")
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--output-tokens", type=int, default=24)
    parser.add_argument("--beside", default="nothing", help="what else the machine does meanwhile")
    return run(NAME, parser, arguments, measure, smoke)


def measure(options: argparse.Namespace) -> int:
    """All pairs, then the figures."""
    try:
        cluster = clusters.read(options.cluster)
    except OperatorError as error:
        raise ExperimentError(str(error)) from None
    head = cluster.control.settings
    if head.api_key_required:
        raise ExperimentError(f"{cluster.name}: its API wants a key, which this load tool does not send")
    work = Work(
        model=head.model.name,
        tokenizer=head.model.directory,
        requests=options.requests,
        concurrent=options.concurrent,
        input_tokens=40,
        output_tokens=options.output_tokens,
        output_range=0.0,
        seed=0,
    )
    result = results.begun(
        NAME,
        versions={"model": head.model.name},
        options={name: value for name, value in vars(options).items() if name not in ("smoke", "cluster")},
        beside=options.beside,
        nodes=len(cluster.hosts),
        period_seconds=PERIOD_SECONDS,
        runs=[],
    )
    url = head.endpoint.removesuffix("/v1")
    asyncio.run(_once(cluster, url, work, OFF))  # what is compiled or cached at first is no difference
    for pair in range(options.pairs):
        for kind in (ON, OFF) if pair % 2 else (OFF, ON):
            row = {"pair": pair, "kind": kind, "load": machine.load_average()}
            row |= asyncio.run(_once(cluster, url, work, kind))
            result["runs"].append(row)
            show(
                f"pair {pair + 1}", f"{kind}: ITL P50 {row['itl_p50_ms']:.2f} ms, TTFT P99 {row['ttft_p99_ms']:.1f} ms"
            )
    result |= figures(result["runs"])
    result["misses"] = judged(result)
    path = common.result_path(NAME)
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {os.path.relpath(path, REPOSITORY)}")
    return 1 if result["misses"] else 0


async def _once(cluster: ClusterInventory, url: str, work: Work, kind: str) -> dict[str, Any]:
    """One run of the load."""
    if kind == OFF:
        return row_of(await asyncio.to_thread(PlainTool().run, work, url))
    before = _children_seconds()
    with tempfile.TemporaryDirectory(prefix="telemetry-") as place:
        async with live(cluster, Path(place)) as seen:
            row = row_of(await asyncio.to_thread(PlainTool().run, work, url))
        size = sum(file.stat().st_size for file in Path(place).rglob("*.jsonl"))
    if len(seen.clocks) != len(cluster.hosts):
        raise ExperimentError(f"{cluster.name}: not every host is observed: {'; '.join(seen.notes)}")
    spent = round(_children_seconds() - before, 2)
    return {**row, "observers_processor_seconds": spent, "observed_bytes": size}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row_of(done: ToolRun) -> dict[str, Any]:
    """The figures of a run, in milliseconds. Pure."""
    itl, ttft = percentile(done.between_tokens, 0.5), percentile(done.first_tokens, 0.99)
    if itl is None or ttft is None:
        raise ExperimentError(f"a run of {done.completed} requests has no figures; give more of --requests")
    about = {"seconds": round(done.seconds, 2), "requests": done.completed, "tokens": done.output_tokens}
    return {**about, "itl_p50_ms": round(itl * 1000, 4), "ttft_p99_ms": round(ttft * 1000, 3)}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What telemetry adds, as shares of the run without it, pair by pair. Pure."""
    by_kind = {kind: {row["pair"]: row for row in rows if row["kind"] == kind} for kind in (ON, OFF)}
    pairs = sorted(by_kind[ON].keys() & by_kind[OFF].keys())
    added: dict[str, Any] = {}
    for name in AIMS:
        values = [by_kind[ON][pair][f"{name}_ms"] / by_kind[OFF][pair][f"{name}_ms"] - 1 for pair in pairs]
        added[name] = {**measures.interval(values), "shares": [round(value, 4) for value in values]}
    cost = sum(row.get("observers_processor_seconds", 0) for row in rows)
    seconds = sum(row["seconds"] for row in by_kind[ON].values())
    return {"added": added, "observers_processors": round(cost / seconds, 4) if seconds else None}


def judged(result: dict[str, Any]) -> list[str]:
    """Aims that are surely missed: the whole interval lies above. Pure."""
    return [
        f"{_SAID[name]} {_percent(said['mean'])} (surely above {_percent(said['low'])}); aimed at {_percent(aim)}"
        for name, aim in AIMS.items()
        if (said := result["added"][name])["low"] is not None and said["low"] > aim
    ]


def report(result: dict[str, Any]) -> str:
    """Markdown of a result. Pure."""
    options, rows = result["options"], []
    for name, aim in AIMS.items():
        said = result["added"][name]
        within = "yes" if said["high"] is not None and said["high"] <= aim else "not told apart"
        within = "no" if said["low"] is not None and said["low"] > aim else within
        middles = [
            percentile([row[f"{name}_ms"] for row in result["runs"] if row["kind"] == kind], 0.5) for kind in (OFF, ON)
        ]
        interval = f"{_percent(said['low'])} to {_percent(said['high'])}"
        numbers = [markdown.shown(value, 2, " ms") for value in middles]
        rows.append([_SAID[name], *numbers, _percent(said["mean"]), interval, _percent(aim), within])
    head = ["figure", "alone, median", "observed, median", "added, mean", "95 % interval", "aim", "within"]
    bytes_each = [row["observed_bytes"] / row["seconds"] for row in result["runs"] if "observed_bytes" in row]
    return "\n".join(
        [
            "# What telemetry costs\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"{result['nodes']} nodes, a look every {result['period_seconds']:g} s; {options['pairs']} pairs of runs "
            f"with {options['requests']} requests of {options['output_tokens']} tokens, {options['concurrent']} at a "
            f"time. Beside it ran: {result['beside']}. All observers together took "
            f"{result['observers_processors']:.3f} of a processor, their start included, and wrote "
            f"{markdown.shown(percentile(bytes_each, 0.5), 0)} bytes a second.\n",
            markdown.table(head, rows),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.2f} %"


def smoke() -> int:
    """A stub stands for the cluster, with nobody looking; the figures are nobody's."""
    address = "127.0.0.92"
    port = servers.free_port(address)
    work = Work("stub", "", 6, 2, 4, 3, 0.0, 0)
    rows = []
    with servers.stub(address, port, 5, 1) as server:
        for pair in range(2):
            for kind in (OFF, ON):
                row = {"pair": pair, "kind": kind, **row_of(PlainTool().run(work, server.url))}
                rows.append(row | ({"observers_processor_seconds": 0.1, "observed_bytes": 1000} if kind == ON else {}))
    options = {"pairs": 2, "requests": work.requests, "output_tokens": work.output_tokens, "concurrent": 2}
    result = results.begun(NAME, versions={"model": "stub"}, options=options, beside="a test", nodes=1)
    result |= {"period_seconds": PERIOD_SECONDS, "runs": rows, **figures(rows)}
    result["misses"] = judged(result)
    show("report", f"{len(report(result).splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
