"""What faults cost the clients of a serving lab: failed, wrong and hung requests, detection, recovery.

`python -m benchmarks.faults_under_load` on a lab that is deployed and serves. Right answers are recorded first, while
all is healthy; then one fault comes after the other under constant load, each on another node. Exit 0: measured,
nothing hung, no wrong answer, all recovered. 1: something did not, see "Misses". 2: could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

import lab
from benchmarks import common, fault_times
from benchmarks.answers import DELIVERED_WRONG, Outcome, Question, recorded
from benchmarks.common import PROJECT, BenchmarkError
from benchmarks.fault_report import report
from benchmarks.lab_cluster import LabCluster, mend_hosts, read_cluster, status_of
from benchmarks.lab_faults import Fault, all_faults
from benchmarks.load import Load, client, clock
from benchmarks.near_ties import ROUNDING_NATS, judge_again
from deploys import runtime_lock

# Beside the golden question; which answers are right is recorded from the healthy cluster.
QUESTIONS = (
    Question("What is the capital of Italy?", 16),
    Question("What is 2 + 2?", 16),
    Question("Name the first three letters of the alphabet.", 16),
    Question("Which planet do we live on?", 24),
    Question("Write one sentence about the sea.", 48),
)
BEFORE_SECONDS = 10.0
AFTER_SECONDS = 10.0
LEAST_WINDOW_SECONDS = 30.0
STEADY_SECONDS = 10.0
FRESH_SECONDS = 6.0
NOT_READ_BACK = "unrecorded answers were not read back"


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen faults; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_judge(options) if options.judge else _measure(options))
    except (BenchmarkError, lab.LabError) as error:
        print(f"faults_under_load: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    names = [fault.name for fault in all_faults(0)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults_under_load", description=__doc__)
    parser.add_argument("--faults", nargs="+", choices=names, default=names)
    parser.add_argument("--nodes", type=int, default=3, help="engines that the lab has to serve with")
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
        raise BenchmarkError(f"--judge {options.judge} --records {options.records}: {error}") from None
    if not outcomes:
        raise BenchmarkError("--judge needs the requests of that run: give --records")
    cluster = read_cluster()
    questions = [Question(text, asked.get(text, cluster.golden.max_tokens), expected) for text, expected in listed]
    nats = ROUNDING_NATS[cluster.control.serving.dtype]
    async with client(4) as session:
        try:
            judged, read_back = await judge_again(session, cluster.endpoint, questions, outcomes, nats)
        except (httpx.HTTPError, ValueError) as error:
            raise BenchmarkError(f"{NOT_READ_BACK}: {type(error).__name__} {error}") from None
    judged_anew(result, judged, read_back)
    common.write_results(options.judge, result, report(result))
    print(report(result))
    return 1 if result["misses"] else 0


async def _measure(options: argparse.Namespace) -> int:
    cluster = read_cluster()
    if len(cluster.declared) != options.nodes:
        raise BenchmarkError(
            f"the lab declares engines on {len(cluster.declared)} nodes instead of {options.nodes}; "
            "give the lab that many, or give --nodes"
        )
    path = common.result_path("faults_under_load")
    result = common.begun(
        "faults_under_load",
        versions=versions(cluster),
        options={name: value for name, value in vars(options).items() if name not in ("records", "judge")},
        nodes=list(cluster.declared),
        faults=[],
    )
    limit = options.most_minutes * 60 + options.recover_seconds + 600
    async with cluster.watched(limit), client(options.concurrent + 4) as session:
        if not await _until_all_serve(cluster, options.recover_seconds):
            raise BenchmarkError(f"not every engine serves: {_who_does_not(cluster)}; run `cluster -c lab up`")
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
                await _faults(cluster, load, options, result)
            finally:
                for line in await mend_hosts():
                    result["misses"].append(f"at the end: {line}; mended")
        # The requests that were under way have ended now, so the figures are computed from all of them.
        outcomes = await _judged(cluster, session, questions, load.outcomes, options, result)
        finish(result, outcomes, cluster, load.not_sent)
        result["verify"] = await _verify(cluster, result["misses"])
    common.write_results(path, result, report(result))
    if options.records:
        options.records.write_text("".join(json.dumps(entry.to_json()) + "\n" for entry in outcomes))
    print(report(result))
    print(f"written: {path.relative_to(PROJECT)}")
    return 1 if result["misses"] else 0


async def _record(
    cluster: LabCluster, session: Any, options: argparse.Namespace, result: dict[str, Any]
) -> list[Question]:
    """Right answers under the same load as later, so that batches of every size are among them."""
    _show("record", f"{options.record_seconds:g} s of load on {len(cluster.declared)} healthy engines")
    asked = [cluster.golden, *QUESTIONS]
    load = Load(session, cluster.endpoint, asked, options.concurrent, options.deadline, rate=options.rate)
    async with load.running():
        await asyncio.sleep(options.record_seconds)
    questions = recorded(asked, load.outcomes)
    kept = {question.text for question in questions}
    if cluster.golden.text not in kept:
        failed = fault_times.errors(load.outcomes)
        raise BenchmarkError(f"the golden question has no answer that most requests got; failed: {failed}")
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
    if not await _until_all_serve(cluster, options.recover_seconds):
        result["misses"].append(f"{NOT_READ_BACK}: {_who_does_not(cluster)} does not serve")
        return outcomes
    nats = ROUNDING_NATS[cluster.control.serving.dtype]
    try:
        judged, result["read_back"] = await judge_again(session, cluster.endpoint, questions, outcomes, nats)
    except (httpx.HTTPError, ValueError) as error:
        result["misses"].append(f"{NOT_READ_BACK}: {type(error).__name__} {error}")
        return outcomes
    return judged


async def _faults(cluster: LabCluster, load: Load, options: argparse.Namespace, result: dict[str, Any]) -> None:
    began = time.monotonic()
    victims = list(cluster.declared)
    chosen = [fault for fault in all_faults(options.hold_seconds) if fault.name in options.faults]
    for place, fault in enumerate(chosen):
        if time.monotonic() - began > options.most_minutes * 60:
            result["misses"].append(f"{fault.name}: not done, {options.most_minutes:g} minutes are over")
            continue
        if not await _until_all_serve(cluster, LEAST_WINDOW_SECONDS):
            result["misses"].append(f"{fault.name}: begun while {_who_does_not(cluster)} did not serve")
        order = victims[place % len(victims) :] + victims[: place % len(victims)]
        serving = [node for node in order if _since(cluster, [node]) is not None]
        if not serving:
            result["misses"].append(f"{fault.name}: not done, no engine serves")
            continue
        entry = await _one(fault, serving[0], cluster, options, result["misses"])
        result["faults"].append(entry)


async def _one(
    fault: Fault, node: str, cluster: LabCluster, options: argparse.Namespace, misses: list[str]
) -> dict[str, Any]:
    """One fault on one node, until the cluster recovered or its time is over; what went wrong is a miss."""
    entry: dict[str, Any] = {"name": fault.name, "says": fault.says, "node": node, "recovered": False}
    entry["delivers_wrong"] = fault.delivers_wrong
    marks = entry["marks"] = {"begin": clock()}
    where = f"{fault.name} on {node}"
    try:
        if fault.prepare:
            await fault.prepare(cluster, node)
        await asyncio.sleep(BEFORE_SECONDS)
        _show("fault", f"{fault.name}: {fault.says}, {node}")
        marks["fault"] = clock()
        marks["fault"] = await fault.inject(cluster, node)
        entry["inject_seconds"] = round(clock() - marks["fault"], 3)
        await asyncio.sleep(fault.hold_seconds)
    except (BenchmarkError, ValueError, OSError) as error:
        misses.append(f"{where}: {error}")
    if fault.repair and "fault" in marks:
        try:
            marks["repair"] = await fault.repair(cluster, node)
            entry["repair_seconds"] = round(clock() - marks["repair"], 3)
        except (BenchmarkError, ValueError, OSError) as error:
            misses.append(f"{where}, repair: {error}")
    if "inject_seconds" in entry:
        entry["recovered"] = await _until_recovered(cluster, node, marks, options.recover_seconds)
        if not entry["recovered"]:
            seen = fault_times.time_out_of_service(_recent(cluster, marks["fault"]), node, marks["fault"])
            reason = f"{_who_does_not(cluster)} did not serve" if seen else f"{node} was never seen out of service"
            misses.append(f"{where}: no recovery within {options.recover_seconds:g} s: {reason}")
            if fault.last_resort:
                try:
                    await fault.last_resort(cluster, node)
                except (BenchmarkError, ValueError, OSError) as error:
                    misses.append(f"{where}, last resort: {error}")
        await asyncio.sleep(AFTER_SECONDS)
    marks["end"] = clock()
    _show("fault", f"{fault.name}: {'recovered' if entry['recovered'] else 'not recovered'}")
    return entry


async def _until_recovered(cluster: LabCluster, node: str, marks: dict[str, float], seconds: float) -> bool:
    """Until the node was out of service and all declared engines have served steadily since; False after `seconds`."""
    start = max(marks.values())
    while clock() - start < seconds:
        out = fault_times.time_out_of_service(_recent(cluster, marks["fault"]), node, marks["fault"])
        since = _since(cluster, cluster.declared)
        steady = since is not None and clock() - since >= STEADY_SECONDS
        if out and steady and clock() - marks["fault"] >= LEAST_WINDOW_SECONDS:
            return True
        await asyncio.sleep(1)
    return False


async def _until_all_serve(cluster: LabCluster, seconds: float) -> bool:
    deadline = clock() + seconds
    while _since(cluster, cluster.declared) is None:
        if clock() > deadline:
            return False
        await asyncio.sleep(0.5)
    return True


def _recent(cluster: LabCluster, since: float) -> list[fault_times.Look]:
    return [look for look in cluster.looks if look.at >= since]


def _since(cluster: LabCluster, nodes: Sequence[str] | dict[str, str]) -> float | None:
    """Since when, within the last minute, these nodes serve."""
    now = clock()
    return fault_times.all_serve_since(_recent(cluster, now - 60), nodes, now, FRESH_SECONDS)


def _who_does_not(cluster: LabCluster) -> str:
    return ", ".join(node for node in cluster.declared if _since(cluster, [node]) is None) or "nobody"


async def _verify(cluster: LabCluster, misses: list[str]) -> dict[str, Any]:
    """What `cluster verify` says at the end."""
    try:
        said = status_of(await cluster.cluster("verify", "--json"))
    except BenchmarkError as error:
        misses.append(f"at the end: {error}")
        return {"ok": False}
    return {"ok": bool(said and said.get("ok")), "checks": len((said or {}).get("checks", []))}


def finish(result: dict[str, Any], outcomes: Sequence[Outcome], cluster: LabCluster, not_sent: int) -> None:
    """Compute all figures from the records, and add what hung, was wrong or was never answered to the misses."""
    control = result["control"]
    control.update(fault_times.summary(outcomes, control["from"], control["to"]))
    for entry in result["faults"]:
        if "inject_seconds" not in entry:
            continue
        looks = [look for look in cluster.looks if entry["marks"]["begin"] <= look.at < entry["marks"]["end"]]
        entry["figures"] = fault_times.fault_figures(outcomes, looks, entry["node"], entry["marks"])
    last = max((entry.ended for entry in outcomes), default=control["to"])
    result["requests"] = {**fault_times.summary(outcomes, control["from"], last), "not_sent": not_sent}
    result["misses"] += judged_misses(result)


def judged_misses(result: dict[str, Any]) -> list[str]:
    """What hung, was wrong or failed unclearly, by the figures of a result. Pure."""
    misses = []
    control = result["control"]
    if control["right"] < control["requests"]:
        misses.append(f"without a fault: {control['requests'] - control['right']} requests not answered rightly")
    measured = [entry for entry in result["faults"] if "figures" in entry]
    for entry in measured:
        figures, where = entry["figures"], f"{entry['name']} on {entry['node']}"
        if figures["hung"]:
            misses.append(f"{where}: {figures['hung']} requests hung beyond {result['options']['deadline']:g} s")
        if figures["failed_unclearly"]:
            misses.append(f"{where}: {figures['failed_unclearly']} errors not in OpenAI's shape")
        if figures["wrong"] and not entry["delivers_wrong"]:
            said = next((line["detail"] for line in figures["failures"] if line["kind"] in DELIVERED_WRONG), "not kept")
            misses.append(f"{where}: {figures['wrong']} wrong answers, such as: {said}")
    for what in ("hung", "wrong"):
        within = control[what] + sum(entry["figures"][what] for entry in measured)
        if result["requests"][what] > within:
            misses.append(f"between the faults: {result['requests'][what] - within} requests {what}")
    return misses


def judged_anew(result: dict[str, Any], outcomes: Sequence[Outcome], read_back: dict[str, Any]) -> None:
    """Put a later read-back's judgement into a result; what was looked at during the run stays as it is. Pure."""
    before = judged_misses(result)
    kept = [miss for miss in result["misses"] if miss not in before and not miss.startswith(NOT_READ_BACK)]
    control = result["control"]
    control.update(fault_times.summary(outcomes, control["from"], control["to"]))
    for entry in result["faults"]:
        if "figures" in entry:
            entry["figures"] |= fault_times.judged_figures(outcomes, entry["node"], entry["marks"])
    last = max((entry.ended for entry in outcomes), default=control["to"])
    result["requests"] |= fault_times.summary(outcomes, control["from"], last)
    result["read_back"] = {**read_back, "at": common.now()}
    result["misses"] = [*kept, *judged_misses(result)]


def versions(cluster: LabCluster) -> dict[str, str]:
    """Versions of what serves and of what asks."""
    return {
        "python": common.machine()["python"],
        "runtime": runtime_lock.load(cluster.control.runtime).name,
        "model": cluster.control.model.name,
        "httpx": version("httpx"),
    }


def _show(phase: str, detail: str) -> None:
    print(f"{phase:8} {detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
