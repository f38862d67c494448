"""How often the judge and the comparison are wrong, over a stub engine of known speed.

`python -m benchmarks.verdict_power`. Clean runs: none is to be refused. Comparisons of two stubs that are alike: at
most 5 % may be said to differ. Comparisons with a stub that is slower by 5 %: nine of ten are to be found. Every
comparison has its own A/A blocks first, then A/B blocks. Exit 0: measured, all three hold. 1: one does not, see
"Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import common, smoke
from experiments import machine, servers
from experiments.comparison import Run, Turn, compare_runs, smallest_effects, take, turns
from experiments.comparison.figures import figures
from experiments.load import arrivals, lengths
from experiments.load.prompts import Synthetic
from experiments.load.steps import Step
from experiments.report import results
from experiments.report.markdown import about, listed_misses, shown, table
from experiments.report.progress import show
from experiments.verdict import Limits, Verdict
from experiments.verdict import requests as columns
from experiments.verdict.trial import run as try_out
from facts.sources import REPOSITORY

NAME = "verdict_power"
ALIKE, SLOWER = "alike", "slower"
MOST_FALSE_ALARMS, LEAST_POWER, MOST_REFUSED = 0.05, 0.9, 0
# A run is clean where the stub itself kept its times, by its own word: else the machine spoiled it, and it is repeated.
MOST_LATE_MS, MOST_DISTURBED = 10.0, 40
# The clean runs are of several kinds, in turns; a request takes a seventh of a second.
KINDS: dict[str, dict[str, Any]] = {
    "constant": {"arrivals": arrivals.Constant(40.0)},
    "poisson": {"arrivals": arrivals.Poisson(40.0)},
    "bursts": {"arrivals": arrivals.Bursts(30.0, 0.5)},
    "prefixes": {
        "arrivals": arrivals.Poisson(30.0),
        "prompts": Synthetic(lengths.fixed(8), groups=20, prefix_tokens=40),
    },
    "closed": {"concurrent": 6},
}


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--address", default="127.0.0.94", help="loopback address of the stubs")
    parser.add_argument("--clean", type=int, default=20, help="clean runs, 0 for none")
    parser.add_argument("--clean-seconds", type=float, default=4.0)
    parser.add_argument("--pairs", type=int, default=40, help="comparisons of each kind, 0 for none")
    parser.add_argument("--alike-blocks", type=int, default=2, help="A/A blocks of a comparison, four runs each")
    parser.add_argument("--blocks", type=int, default=3, help="A/B blocks of a comparison, four runs each")
    parser.add_argument("--seconds", type=float, default=0.3, help="of load in a run of a comparison")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second of such a run")
    parser.add_argument("--ttft-ms", type=float, default=40.0)
    parser.add_argument("--itl-ms", type=float, default=6.0)
    parser.add_argument("--slower", type=float, default=0.05, help="by how much B is slower where it is")
    parser.add_argument("--lanes", type=int, default=2, help="comparisons at once")
    parser.add_argument("--beside", default="", help='what else ran on the machine; "nothing" where nothing did')
    return smoke.run(NAME, parser, arguments, measure, _smoke)


def measure(options: argparse.Namespace) -> int:
    """Everything, written down."""
    path = common.result_path(NAME)
    result = results.begun(NAME, options=_said(options), versions={"python": machine.describe()["python"]})
    for measured in collect(options):
        # Written down as it goes on: what was measured until an end is not lost.
        result |= measured
        result["misses"] = misses(result)
        results.write(path, result, report(result))
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def collect(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Clean runs one after the other; then comparisons, alike and slower in turns, some at once: all so far."""
    begun = time.monotonic()
    kinds = [
        (options, number, kind) for number, kind in zip(range(options.clean), itertools.cycle(KINDS), strict=False)
    ]
    wanted = [(options, kind, number) for number in range(options.pairs) for kind in (ALIKE, SLOWER)]
    pairs: list[dict[str, Any]] = []
    found: dict[str, Any] = {"clean": [], "disturbed": []}
    for entry in kinds:
        while len(found["disturbed"]) < MOST_DISTURBED:
            run = _clean(entry)
            found["disturbed" if run["disturbed"] else "clean"].append(run)
            yield {**found, "pairs": pairs, "seconds": round(time.monotonic() - begun, 1)}
            if not run["disturbed"]:
                break
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(max_workers=options.lanes, mp_context=context) as pool:
        for pair in pool.map(_pair, wanted):
            pairs.append(pair)
            said = {True: "differ", False: "no difference", None: "cannot tell"}[pair["differs"]]
            show("pair", f"{pair['kind']} {pair['number']}: {said}, {pair['seconds']:.0f} s")
            yield {**found, "pairs": pairs, "seconds": round(time.monotonic() - begun, 1)}


def _clean(wanted: tuple[argparse.Namespace, int, str]) -> dict[str, Any]:
    """One clean run and its verdict."""
    options, number, kind = wanted
    more = {"prompts": Synthetic(lengths.fixed(8)), **KINDS[kind]}
    step = Step(
        "workers=6" if kind == "closed" else f"rate={more['arrivals'].rate:g}",
        duration_seconds=options.clean_seconds,
        output_lengths=lengths.fixed(12),
        warm_up_seconds=0.5,
        seed=number,
        **more,
    )
    port = servers.free_port(options.address)
    with servers.stub(options.address, port, options.ttft_ms, options.itl_ms) as stub:
        judged = try_out(stub.url, [step]).judged()
        timing = servers.get_json(f"{stub.url}/stub/timing")
    late = max(timing[part]["p99_ms"] for part in ("first", "next"))
    disturbed = late > MOST_LATE_MS
    show("clean", f"{number} {kind}: {' '.join(judged.lines()[:2])}; stub {late:.1f} ms late")
    return {"kind": kind, "stub_late_p99_ms": late, "disturbed": disturbed, **_verdict(judged)}


def _verdict(judged: Verdict) -> dict[str, Any]:
    causes = [{"name": cause.name, "detail": cause.detail} for cause in judged.causes]
    return {"verdict": judged.word, "causes": causes, "cut": {name: part.cut for name, part in judged.steps.items()}}


def _pair(wanted: tuple[argparse.Namespace, str, int]) -> dict[str, Any]:
    """One comparison: two stubs, A/A blocks, the smallest effect that they promise, A/B blocks, the difference."""
    options, kind, number = wanted
    begun, tried = time.monotonic(), itertools.count()
    slower = 1 + options.slower if kind == SLOWER else 1.0
    speeds = {"A": (options.ttft_ms, options.itl_ms), "B": (options.ttft_ms * slower, options.itl_ms * slower)}
    ports = {side: servers.free_port(options.address) for side in speeds}
    with (
        servers.stub(options.address, ports["A"], *speeds["A"]) as a,
        servers.stub(options.address, ports["B"], *speeds["B"]) as b,
    ):
        urls = {"A": a.url, "B": b.url}

        async def measured(turn: Turn) -> Run:
            next(tried)
            step = Step(
                f"rate={options.rate:g}",
                arrivals.Poisson(options.rate),
                options.seconds,
                prompts=Synthetic(lengths.fixed(8)),
                output_lengths=lengths.fixed(8),
                # Both sides of a block are asked the same at the same times, and no other block is.
                seed=1000 * number + turn.block,
            )
            # The load has an event loop of its own.
            return await asyncio.to_thread(_one, urls[turn.measured], step, turn)

        runs = asyncio.run(take(turns(options.alike_blocks, options.blocks), measured))
    repeated = next(tried) - len(runs)
    promised = smallest_effects(runs, options.blocks)
    comparison = compare_runs(runs, "stub", f"stub, {100 * (slower - 1):g} % slower")
    return {
        "kind": kind,
        "number": number,
        "differs": comparison.differs,
        "worse": any(entry.worse for entry in comparison.differences),
        "differences": [entry.to_json() for entry in comparison.differences],
        "promised": promised,
        "repeated": repeated,
        "left_out": list(comparison.left_out),
        "seconds": round(time.monotonic() - begun, 1),
    }


def _one(url: str, step: Step, turn: Turn) -> Run:
    """One run and its figures. Thirty requests tell no P99, so none is wanted of them."""
    trial = try_out(url, [step])
    judged = trial.judged(limits=Limits(percentile=0.95))
    requests = columns.from_records(trial.records)
    found = figures(requests.where(judged.counts(requests))) if len(requests) else {}
    reason = "" if not judged.causes else f"{judged.causes[0].name}: {judged.causes[0].detail}"
    began = float(requests.sent.min()) if len(requests) else 0.0
    return Run(turn.side, turn.block, turn.place, turn.alike, began, found, not judged.causes and bool(found), reason)


def misses(result: dict[str, Any]) -> list[str]:
    """What was aimed at and does not hold. Pure."""
    found = []
    refused = [entry for entry in result["clean"] if entry["verdict"] != "VALID"]
    if len(result["clean"]) < result["options"]["clean"]:
        found.append(
            f"{len(result['clean'])} of {result['options']['clean']} clean runs: the machine disturbed the others"
        )
    if len(refused) > MOST_REFUSED:
        names = ", ".join(f"{entry['kind']}: {entry['causes'][0]['name']}" for entry in refused)
        found.append(f"{len(refused)} of {len(result['clean'])} clean runs were refused ({names})")
    alarms, alike = _differing(result, ALIKE)
    if alarms > MOST_FALSE_ALARMS * alike:
        found.append(f"{alarms} of {alike} comparisons of equals raised an alarm, at most {MOST_FALSE_ALARMS:.0%} may")
    found_slower, slower = _differing(result, SLOWER)
    if found_slower < LEAST_POWER * slower:
        found.append(f"{found_slower} of {slower} slower stubs were found, at least {LEAST_POWER:.0%} are to be")
    return found


def _differing(result: dict[str, Any], kind: str) -> tuple[int, int]:
    """(said to differ, all): of slower ones only those count that were called worse."""
    pairs = [pair for pair in result["pairs"] if pair["kind"] == kind]
    return sum(bool(pair["differs"] and (kind == ALIKE or pair["worse"])) for pair in pairs), len(pairs)


def report(result: dict[str, Any]) -> str:
    """As Markdown. Pure."""
    options = result["options"]
    refused = sum(entry["verdict"] != "VALID" for entry in result["clean"])
    alarms, alike = _differing(result, ALIKE)
    found, slower = _differing(result, SLOWER)
    seen = (
        ("clean runs refused", refused, len(result["clean"]), "0"),
        ("alike, said to differ", alarms, alike, f"at most {MOST_FALSE_ALARMS:.0%}"),
        (f"slower by {options['slower']:.0%}, found", found, slower, f"at least {LEAST_POWER:.0%}"),
    )
    rows = [[name, str(number), str(of), aim] for name, number, of, aim in seen if of]
    runs = 4 * (options["alike_blocks"] + options["blocks"])
    return "\n".join(
        [
            "# How often the judge and the comparison are wrong\n",
            about(result["machine"], result["versions"], result["started"]),
            f"Beside it ran: {options['beside'] or 'not said'}. Load before: {result['load_before']}.\n",
            f"A stub engine ({options['ttft_ms']:g} ms to the first token, {options['itl_ms']:g} ms between tokens). A "
            f"comparison has {options['alike_blocks']} A/A and {options['blocks']} A/B blocks, {runs} runs of "
            f"{options['seconds']:g} s at {options['rate']:g} requests/s; {options['lanes']} comparisons at once.\n",
            table(["", "seen", "of", "aim"], rows),
            "",
            *_about_disturbed(result),
            "What comparisons said, medians over them:\n",
            table(["figure", "noise %", "smallest %", "alike: change %", "slower: change %"], _figures(result)),
            "",
            listed_misses(result["misses"]),
        ]
    )


def _about_disturbed(result: dict[str, Any]) -> list[str]:
    """Of a result that has them: the first one did not look."""
    if "disturbed" not in result or not result["clean"]:
        return []
    caught = sum(entry["verdict"] != "VALID" for entry in result["disturbed"])
    why = f"the stub itself was late (P99 over {MOST_LATE_MS:g} ms)"
    return [f"Runs in which {why} were repeated: {len(result['disturbed'])}; the verdict refused {caught} of them.", ""]


def _figures(result: dict[str, Any]) -> list[list[str]]:
    names = sorted({entry["figure"] for pair in result["pairs"] for entry in pair["differences"]})
    rows = []
    for name in names:
        row = [name]
        for kind, key in (("", "noise"), ("", "smallest"), (ALIKE, "change"), (SLOWER, "change")):
            values = [
                100 * entry[key]
                for pair in result["pairs"]
                if not kind or pair["kind"] == kind
                for entry in pair["differences"]
                if entry["figure"] == name and entry[key] is not None
            ]
            row.append(shown(sorted(values)[len(values) // 2] if values else None, 2))
        rows.append(row)
    return rows


def _said(options: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


def _smoke() -> int:
    """One clean run and one comparison of two equals, in seconds; kept results are reported anew."""
    options = _quick()
    result = results.begun(NAME, options=_said(options), versions={"python": machine.describe()["python"]})
    run = _clean((options, 0, "constant"))
    result |= {"clean": [run], "disturbed": [], "pairs": [_pair((options, ALIKE, 0))]}
    print(report(result))
    measured = bool(result["pairs"][0]["differences"])
    return max(int(not measured), smoke.report_kept(NAME, report))


def _quick() -> argparse.Namespace:
    return argparse.Namespace(
        address="127.0.0.94",
        clean_seconds=1.0,
        alike_blocks=1,
        blocks=2,
        seconds=0.4,
        rate=60.0,
        ttft_ms=10.0,
        itl_ms=2.0,
        slower=0.05,
        lanes=1,
        beside="",
    )


if __name__ == "__main__":
    sys.exit(main())
