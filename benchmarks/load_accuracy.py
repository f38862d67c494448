"""How right our load generator is, beside `vllm bench serve` and AIPerf, against an engine of known speed.

`python -m benchmarks.load_accuracy [--aiperf PROGRAM]`. At the base rate each tool sends constant and Poisson arrivals,
in turns; then the rate rises until each does not keep up any more. Exit 0: measured, targets hold. 1: some figure is
missing, a target does not hold or another tool is better, see "Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import common, smoke
from deploys import runtime_lock
from experiments import local_cluster, machine, servers
from experiments.errors import ExperimentError
from experiments.load import tool as load_tool
from experiments.load.arrivals import CONSTANT, POISSON
from experiments.load.referees import AIPerf, Ours, Referee, VllmBench, Work, in_turn
from experiments.report import load_accuracy, results
from experiments.report.load_accuracy import AIPERF, OURS, VLLM, figures, kept_up, report
from experiments.report.markdown import shown
from experiments.report.progress import show
from facts.sources import REPOSITORY

ADDRESS = "127.0.0.71"


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_accuracy", description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="the base rate, requests a second")
    parser.add_argument("--rounds", type=int, default=2, help="rounds at the base rate, each tool both ways")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run at the base rate")
    parser.add_argument("--rates", type=float, nargs="*", default=[100, 150, 200, 300, 400, 500, 600])
    parser.add_argument("--rising-seconds", type=float, default=10.0, help="of each run at these rates")
    parser.add_argument("--ttft-ms", type=float, default=100.0)
    parser.add_argument("--itl-ms", type=float, default=23.0)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--runtime", type=Path, help="with vllm bench serve; default: the laptop cluster's")
    parser.add_argument("--aiperf", type=Path, help="AIPerf's program, in an environment of its own; default: left out")
    parser.add_argument("--limit-seconds", type=float, default=900.0, help="no work begins later, and a miss says so")
    parser.add_argument("--beside", default="", help="one sentence on what else the machine had to do")
    return smoke.run("load_accuracy", parser, arguments, measure, try_out)


def measure(options: argparse.Namespace) -> int:
    """All tools; the result is written after each round."""
    head = local_cluster.nodes()[0]
    runtime = options.runtime or Path(runtime_lock.directory(head))
    result = begun(options)
    result["versions"] |= {"runtime": runtime_lock.load(head.runtime).name}
    path = common.result_path("load_accuracy")
    with load_tool.tool(runtime) as tool:
        referees: dict[str, Referee] = {OURS: Ours(), VLLM: VllmBench(tool, head.model.directory)}
        if options.aiperf:
            result["versions"] |= {"AIPerf": version_of(options.aiperf)}
            referees[AIPERF] = AIPerf(options.aiperf, head.model.directory)
        take_turns(options, referees, result, path)
    result["misses"] += load_accuracy.targets_missed(result)
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


def begun(options: argparse.Namespace) -> dict[str, Any]:
    """A result before anything is measured."""
    return results.begun(
        "load_accuracy",
        base_rate=options.rate,
        engine={"ttft_ms": options.ttft_ms, "itl_ms": options.itl_ms, "output_tokens": options.output_tokens},
        beside=options.beside,
        versions={"python": machine.describe()["python"]},
        tools={},
    )


def take_turns(
    options: argparse.Namespace, referees: dict[str, Referee], result: dict[str, Any], path: Path | None
) -> None:
    """The base rate in rounds, then each rising rate; a tool that did not keep up takes no part in higher ones."""
    result["tools"] = {name: [] for name in referees}
    works = [
        Work(options.rate, options.seconds, options.output_tokens, kind, seed)
        for seed in range(options.rounds)
        for kind in (CONSTANT, POISSON)
    ]
    works += [Work(rate, options.rising_seconds, options.output_tokens) for rate in sorted(options.rates)]
    still = dict(referees)
    with servers.stub(ADDRESS, servers.free_port(ADDRESS), options.ttft_ms, options.itl_ms) as stub:
        # The first run of each pays for what is loaded then, and does not count.
        for name, referee in referees.items():
            with contextlib.suppress(ExperimentError):
                referee.measure(stub.url, Work(options.rate, 1.0, 2))
            show("tried", name)
        begun_at = time.monotonic()
        for turn, work in enumerate(works):
            if time.monotonic() - begun_at > options.limit_seconds:
                result["misses"].append(
                    f"{work.rate:g}/s and what follows: no work begins after {options.limit_seconds:g} s"
                )
                break
            for name, referee in in_turn(still, turn) if still else []:
                servers.get_json(f"{stub.url}/stub/timing")
                try:
                    measured = referee.measure(stub.url, work)
                except ExperimentError as error:
                    result["misses"].append(f"{name}, {work.rate:g}/s {work.arrivals}: {error}")
                    still.pop(name) if work.rate > options.rate else None
                    continue
                timing = servers.get_json(f"{stub.url}/stub/timing")
                one = figures(work, measured, options.ttft_ms, options.itl_ms, timing)
                result["tools"][name].append(one)
                said = f"sent {shown(one['sent_rate'], 2)}/s, TTFT off {shown(one['ttft_error_ms'], 2)} ms"
                show("run", f"{name} {work.rate:g}/s {work.arrivals}: {said} {one['says']}".rstrip())
                if work.rate > options.rate and not kept_up(one):
                    still.pop(name)
            if path is not None:
                results.write(path, result, report(result))


def version_of(program: Path) -> str:
    """What AIPerf says of itself; ExperimentError when it cannot be run."""
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ExperimentError(f"{program}: {error}; give the path of an installed aiperf") from None
    return done.stdout.split()[-1]


def try_out() -> int:
    """Our own generator for two seconds at a low rate; a kept result is reported anew."""
    options = argparse.Namespace(
        rate=20.0,
        rounds=1,
        seconds=1.0,
        rates=[40.0],
        rising_seconds=0.5,
        ttft_ms=30.0,
        itl_ms=5.0,
        output_tokens=4,
        limit_seconds=60.0,
        beside="",
    )
    result = begun(options)
    take_turns(options, {OURS: Ours()}, result, None)
    print(report(result))
    failed = [one for one in result["tools"][OURS] if one["failed"] or not one["requests"]]
    if failed or result["misses"]:
        return 1
    # Nothing is kept before the first run.
    kept = any(common.RESULTS.glob("load_accuracy-*.json"))
    return smoke.report_kept("load_accuracy", report) if kept else 0


if __name__ == "__main__":
    sys.exit(main())
