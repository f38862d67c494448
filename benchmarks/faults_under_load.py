"""What faults cost the clients of a serving cluster: failed, wrong and hung requests, detection, recovery.

`python -m benchmarks.faults_under_load` on a lab that is deployed and serves; `--cluster laptop` on the laptop's, whose
nodes are processes, so without the faults of hosts. Right answers are recorded first, while
all is healthy; then one fault comes after the other under constant load, each on another node. Exit 0: measured,
nothing hung, no wrong answer, all recovered. 1: something did not, see "Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

import lab
from benchmarks import common
from benchmarks.smoke import add_argument, kept, report_kept
from deploys import runtime_lock
from experiments import machine, servers
from experiments.answers import Outcome, Question, recorded
from experiments.errors import ExperimentError
from experiments.lab_cluster import LabCluster, mend_hosts, read_cluster, status_of
from experiments.load.client import Endpoint, client, clock
from experiments.load.constant import Load
from experiments.load.near_ties import ROUNDING_NATS, judge_again
from experiments.report import results
from experiments.report.faults import report
from experiments.report.progress import show
from experiments.schedule.faults import all_faults
from experiments.schedule.judged import NOT_READ_BACK, finish, judged_anew, judged_misses
from experiments.schedule.one_after_the_other import Limits, one_after_the_other, until_all_serve, who_does_not
from experiments.telemetry import fault_times
from facts.sources import REPOSITORY

# Beside the golden question; which answers are right is recorded from the healthy cluster.
QUESTIONS = (
    Question("What is the capital of Italy?", 16),
    Question("What is 2 + 2?", 16),
    Question("Name the first three letters of the alphabet.", 16),
    Question("Which planet do we live on?", 24),
    Question("Write one sentence about the sea.", 48),
)
SMOKE_ADDRESS = "127.0.0.90"


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen faults; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.smoke:
            return asyncio.run(smoke(options))
        return asyncio.run(_judge(options) if options.judge else _measure(options))
    except (ExperimentError, lab.LabError) as error:
        print(f"faults_under_load: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    names = [fault.name for fault in all_faults(0)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults_under_load", description=__doc__)
    parser.add_argument("--cluster", choices=("lab", "laptop"), default="lab")
    parser.add_argument("--faults", nargs="+", choices=names, default=names)
    parser.add_argument("--nodes", type=int, default=3, help="engines that the cluster has to serve with")
    parser.add_argument("--concurrent", type=int, default=6, help="requests under way at once")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="requests a second by the clock; 0: one after the other"
    )
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds that a client waits for a whole answer")
    parser.add_argument("--record-seconds", type=float, default=60.0, help="load whose answers are recorded as right")
    parser.add_argument("--control-seconds", type=float, default=60.0, help="load without a fault, for comparison")
    parser.add_argument("--hold-seconds", type=float, default=45.0, help="between a fault and its repair")
    parser.add_argument("--recover-seconds", type=float, default=300.0, help="time that a recovery may take")
    parser.add_argument("--most-minutes", type=float, default=75.0, help="no fault is begun after that time")
    parser.add_argument("--most-requests", type=int, default=200_000)
    parser.add_argument("--records", type=Path, help="also write every request as a line of JSON to this file")
    parser.add_argument(
        "--judge", type=Path, metavar="RESULT", help="measure nothing: read the answers of --records back, once more"
    )
    add_argument(parser)
    return parser


async def _judge(options: argparse.Namespace) -> int:
    """Read back what a run that is over could not; the lab serves, and `--records` has that run's requests."""
    try:
        result = json.loads(options.judge.read_text())
        lines = options.records.read_text().splitlines() if options.records else []
        outcomes = [Outcome(**json.loads(line)) for line in lines]
        asked = {question.text: question.max_tokens for question in QUESTIONS}
        listed = [(entry["question"], entry["expected"]) for entry in result["questions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExperimentError(f"--judge {options.judge} --records {options.records}: {error}") from None
    if not outcomes:
        raise ExperimentError("--judge needs the requests of that run: give --records")
    cluster = read_cluster(options.cluster)
    questions = [Question(text, asked.get(text, cluster.golden.max_tokens), expected) for text, expected in listed]
    nats = ROUNDING_NATS[cluster.control.serving.dtype]
    async with client(4) as session:
        try:
            judged, read_back = await judge_again(session, cluster.endpoint, questions, outcomes, nats)
        except (httpx.HTTPError, ValueError) as error:
            raise ExperimentError(f"{NOT_READ_BACK}: {type(error).__name__} {error}") from None
    judged_anew(result, judged, read_back)
    results.write(options.judge, result, report(result))
    print(report(result))
    return 1 if result["misses"] else 0


async def _measure(options: argparse.Namespace) -> int:
    cluster = read_cluster(options.cluster)
    if len(cluster.declared) != options.nodes:
        raise ExperimentError(
            f"{options.cluster} declares engines on {len(cluster.declared)} nodes instead of {options.nodes}; "
            "give it that many, or give --nodes"
        )
    path = common.result_path("faults_under_load")
    result = results.begun(
        "faults_under_load",
        versions=versions(cluster),
        options={name: value for name, value in vars(options).items() if name not in ("records", "judge")},
        nodes=list(cluster.declared),
        faults=[],
    )
    has_hosts = options.cluster == "lab"
    chosen = [
        fault
        for fault in all_faults(options.hold_seconds)
        if fault.name in options.faults and (has_hosts or not fault.needs_hosts)
    ]
    limits = Limits(options.recover_seconds, options.most_minutes)
    limit = options.most_minutes * 60 + options.recover_seconds + 600
    async with cluster.watched(limit), client(options.concurrent + 4) as session:
        if not await until_all_serve(cluster, options.recover_seconds):
            raise ExperimentError(
                f"not every engine serves: {who_does_not(cluster)}; run `cluster -c {options.cluster} up`"
            )
        questions = await _record(cluster, session, options, result)
        load = Load(
            session,
            cluster.endpoint,
            questions,
            options.concurrent,
            options.deadline,
            rate=options.rate,
            most_requests=options.most_requests,
        )
        async with load.running():
            begun = clock()
            await asyncio.sleep(options.control_seconds)
            result["control"] = {"from": begun, "to": clock()}
            try:
                await one_after_the_other(cluster, chosen, limits, result)
            finally:
                for line in await mend_hosts() if has_hosts else ():
                    result["misses"].append(f"at the end: {line}; mended")
        # The requests that were under way have ended now, so the figures are computed from all of them.
        outcomes = await _judged(cluster, session, questions, load.outcomes, options, result)
        finish(result, outcomes, cluster.looks, load.not_sent)
        result["verify"] = await _verify(cluster, result["misses"])
    results.write(path, result, report(result))
    if options.records:
        options.records.write_text("".join(json.dumps(entry.to_json()) + "\n" for entry in outcomes))
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 1 if result["misses"] else 0


async def _record(
    cluster: LabCluster, session: Any, options: argparse.Namespace, result: dict[str, Any]
) -> list[Question]:
    """Right answers under the same load as later, so that batches of every size are among them."""
    show("record", f"{options.record_seconds:g} s of load on {len(cluster.declared)} healthy engines")
    asked = [cluster.golden, *QUESTIONS]
    load = Load(session, cluster.endpoint, asked, options.concurrent, options.deadline, rate=options.rate)
    async with load.running():
        await asyncio.sleep(options.record_seconds)
    questions = recorded(asked, load.outcomes)
    kept = {question.text for question in questions}
    if cluster.golden.text not in kept:
        failed = fault_times.errors(load.outcomes)
        raise ExperimentError(f"the golden question has no answer that most requests got; failed: {failed}")
    for question in asked:
        if question.text not in kept:
            result["misses"].append(f"{question.text!r} has no answer that most requests got: not asked")
    result["questions"] = [
        {"question": question.text, "expected": question.expected, "answers": sorted(question.answers)}
        for question in questions
    ]
    return questions


async def _judged(
    cluster: LabCluster,
    session: Any,
    questions: Sequence[Question],
    outcomes: list[Outcome],
    options: argparse.Namespace,
    result: dict[str, Any],
) -> list[Outcome]:
    """Outcomes after answers that nobody recorded were read back to an engine that is healthy again."""
    if not await until_all_serve(cluster, options.recover_seconds):
        result["misses"].append(f"{NOT_READ_BACK}: {who_does_not(cluster)} does not serve")
        return outcomes
    nats = ROUNDING_NATS[cluster.control.serving.dtype]
    try:
        judged, result["read_back"] = await judge_again(session, cluster.endpoint, questions, outcomes, nats)
    except (httpx.HTTPError, ValueError) as error:
        result["misses"].append(f"{NOT_READ_BACK}: {type(error).__name__} {error}")
        return outcomes
    return judged


async def _verify(cluster: LabCluster, misses: list[str]) -> dict[str, Any]:
    """What `cluster verify` says at the end."""
    try:
        said = status_of(await cluster.cluster("verify", "--json"))
    except ExperimentError as error:
        misses.append(f"at the end: {error}")
        return {"ok": False}
    return {"ok": bool(said and said.get("ok")), "checks": len((said or {}).get("checks", []))}


def versions(cluster: LabCluster) -> dict[str, str]:
    """Versions of what serves and of what asks."""
    return {
        "python": machine.describe()["python"],
        "runtime": runtime_lock.load(cluster.control.runtime).name,
        "model": cluster.control.model.name,
        "httpx": version("httpx"),
    }


async def smoke(options: argparse.Namespace) -> int:
    """A load whose answers are recorded, and one whose answers are judged, on a stub engine; no fault is done.

    Kept results are judged by their own figures and reported anew.
    """
    result = results.begun("faults_under_load", versions={}, nodes=["stub"], faults=[], options=vars(options))
    with servers.stub(SMOKE_ADDRESS, servers.free_port(SMOKE_ADDRESS), ttft_ms=5.0, itl_ms=1.0) as stub:
        async with client(options.concurrent) as session:
            endpoint = Endpoint(f"{stub.url}/v1", "stub")
            first = Load(session, endpoint, QUESTIONS, options.concurrent, options.deadline)
            async with first.running():
                await _asked(first, 4 * len(QUESTIONS))
            questions = recorded(QUESTIONS, first.outcomes)
            load = Load(session, endpoint, questions or QUESTIONS, options.concurrent, options.deadline, rate=50.0)
            begun = clock()
            async with load.running():
                await _asked(load, 2 * len(QUESTIONS))
    result["control"] = {"from": begun, "to": clock()}
    finish(result, load.outcomes, [], load.not_sent)
    print(report(result))
    for path, before in kept("faults_under_load"):
        if lost := [miss for miss in judged_misses(before) if miss not in before["misses"]]:
            print(f"faults_under_load: {path.name}: judged anew, it says: {lost[0]}", file=sys.stderr)
            return 1
    wrong = len(questions) != len(QUESTIONS) or not load.outcomes or bool(result["misses"])
    return max(int(wrong), report_kept("faults_under_load", report))


async def _asked(load: Load, requests: int) -> None:
    async with asyncio.timeout(30):
        while len(load.outcomes) < requests:
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
