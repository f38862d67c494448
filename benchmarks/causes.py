"""How often the causes of faults are named, from telemetry alone, beside three published methods on the same bundles.

`python -m benchmarks.causes --corpus FOLDER [--others PYTHON]`; `cluster experiment run causes --to FOLDER` makes it.
`--others` is the Python of an environment with RCAEval (README.md says how it is made). BARO, NSigma and CIRCA are told
when the fault began, which ours finds by itself; they name a metric, whose node and kind count, and cannot say
"nothing". `--simulated N` scores N simulated bundles instead: that shows that it runs, and no more. Exit 0: the aims
are met. 1: not, or a bundle was left out. 2: nothing could be scored.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.smoke import run
from experiments.causes import corpus, scoring, simulated_bundles, telemetry, wide
from experiments.causes.corpus import Labelled
from experiments.causes.scoring import Judged
from experiments.errors import ExperimentError
from experiments.report import markdown, results
from experiments.report.progress import show

# Each with the signals that it is given; none: all. CIRCA inverts the correlations of its columns, and of more columns
# than rows these cannot be inverted.
GIVEN: dict[tuple[str, ...], tuple[str, ...]] = {("baro", "nsigma"): (), ("circa",): wide.FEW}
METHODS = tuple(name for names in GIVEN for name in names)
OURS = "ours"
SINGLE_AIM, PAIR_AIM, ALARM_AIM = 0.9, 0.75, 0.05
OTHERS = Path(__file__).with_name("causes_others.py")
OTHERS_SECONDS = 900
MADE_UP = (
    "These bundles are simulated: nobody ran them, and who made the simulation made the signatures too. That ours is "
    "first here is no finding; the scores say that the parts work together."
)


def main(arguments: list[str] | None = None) -> int:
    """Score a corpus; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--corpus", type=Path, metavar="FOLDER", help="labelled bundles, at any depth below it")
    where.add_argument("--simulated", type=int, metavar="N", help="N simulated bundles instead")
    parser.add_argument("--others", type=Path, metavar="PYTHON", help="of an environment that has RCAEval")
    parser.add_argument("--seed", type=int, default=2, help="of simulated bundles; 1 was looked at while tuning")
    return run("causes", parser, arguments, measure, smoke)


def measure(options: argparse.Namespace) -> int:
    """Score, keep the result, hold it against the aims."""
    with tempfile.TemporaryDirectory(prefix="causes-") as place:
        if options.simulated:
            folder = simulate(Path(place), options.simulated, options.seed)
        elif options.corpus:
            folder = options.corpus
        else:
            raise ExperimentError(
                "neither --corpus nor --simulated; make a corpus with `cluster experiment run causes`"
            )
        result = results.begun(
            "causes", simulated=bool(options.simulated), seed=options.seed if options.simulated else None
        )
        score(result, folder, options.others, Path(place))
    path = common.result_path("causes")
    results.write(path, result, report(result))
    show("report", str(path))
    return 1 if result["misses"] else 0


def simulate(place: Path, number: int, seed: int) -> Path:
    """That many bundles: half with one fault, a quarter with two, a quarter clean."""
    folder = place / "corpus"
    singles, pairs = max(1, number // 2), max(1, number // 4)
    for name, planted, made in corpus.simulated(singles, pairs, max(1, number - singles - pairs), first_seed=seed):
        simulated_bundles.write(folder / name, planted, made)
    return folder


def score(result: dict[str, Any], folder: Path, others: Path | None, place: Path) -> None:
    """Ours on all bundles and on those held back; the others on those that have a fault."""
    found, left_out = corpus.find(folder)
    result["misses"] += left_out
    if not found:
        raise ExperimentError(
            f"{folder}: no labelled bundle in it; `cluster experiment run causes --to {folder}` makes them"
        )
    began = time.perf_counter()
    judged, unread = corpus.judge(found, lambda name, ranking: show("ranked", f"{name}: {ranking.word}"))
    result["misses"] += unread
    result["seconds_a_bundle"] = round((time.perf_counter() - began) / len(found), 3)
    kept = [one for one in judged if corpus.held_back(one.run) or result["simulated"]]
    result["all"] = {OURS: corpus.results(judged)}
    result["held_back"] = {OURS: corpus.results(kept)}
    result["wrong"] = [line for one in kept if (line := wrong(one))]
    if others is not None:
        for name, theirs in other_methods(others, found, place, result["misses"]).items():
            result["all"][name] = corpus.results(theirs)
            result["held_back"][name] = corpus.results([one for one in theirs if one.run in {run.run for run in kept}])
    result["misses"] += missed(result["held_back"][OURS]["node_and_kind"])


def wrong(one: Judged) -> str:
    """What was not as it should be in one run; empty for nothing."""
    if not one.truth:
        return f"{one.run}: false alarm, {one.ranking[:1]}" if one.alarm else ""
    if one.ranking[:1] and one.ranking[0] in one.truth:
        return ""
    return f"{one.run}: {sorted(map(str, one.truth))}, ranked {[str(place) for place in one.ranking[:3]]}"


def missed(scores: dict[str, Any]) -> list[str]:
    """Aims that are not met, on the runs held back."""
    found = []
    for name, aim in (("single", SINGLE_AIM), ("concurrent", PAIR_AIM)):
        value = scores[name]["ac1"]
        if value is not None and value < aim:
            found.append(f"AC@1 of {name} faults is {value:.3f}; the aim is {aim}")
    share = scores["clean"]["share"]
    if share is not None and share > ALARM_AIM:
        found.append(f"{share:.3f} of the clean runs raised an alarm; the aim is at most {ALARM_AIM}")
    return found


def other_methods(python: Path, found: Sequence[Labelled], place: Path, misses: list[str]) -> dict[str, list[Judged]]:
    """BARO, NSigma and CIRCA on the runs with faults."""
    asked, nodes, lines = [one for one in found if one.causes and one.began is not None], {}, []
    for one in asked:
        seen = telemetry.read(one.directory)
        nodes[one.directory.name] = seen.nodes
        for methods, chosen in GIVEN.items():
            names, rows = wide.table(seen, chosen)
            table = place / f"{one.directory.name}-{methods[0]}.csv"
            with table.open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(names)
                writer.writerows(rows.tolist())
            lines.append(json.dumps({"table": str(table), "inject_time": one.began, "methods": methods}))
    try:
        done = subprocess.run(
            [str(python), str(OTHERS)],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            timeout=OTHERS_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExperimentError(f"{python}: {error}; give the Python of an environment that has RCAEval") from None
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(asked) * len(METHODS):
        raise ExperimentError(f"{python} {OTHERS.name}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    judged: dict[str, list[Judged]] = {name: [] for name in METHODS}
    for place_of, said in enumerate(answers):
        one = asked[place_of // len(METHODS)]
        if said["failed"]:
            misses.append(f"{said['method']} on {one.directory.name} failed: {said['failed']}")
        order = causes_of(said["ranks"], nodes[one.directory.name])
        judged[said["method"]].append(Judged(one.directory.name, frozenset(one.causes), order, True))
    return judged


def causes_of(columns: Iterable[str], nodes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Node and kind of each column, each pair once; a column that stands for no kind (a latency) counts as its own."""
    found: dict[tuple[str, str], None] = {}
    for column in columns:
        node, signal = wide.cause_of(column, nodes)
        found[node, wide.KIND_OF_SIGNAL.get(signal, signal)] = None
    return tuple(found)


def report(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    parts = [
        "# Root causes from telemetry\n",
        markdown.about(result["machine"], {"causes": "experiments/causes"}, result["started"]),
    ]
    if result["simulated"]:
        parts.append(f"{MADE_UP} Seed {result['seed']}.\n")
    for title, key in (("Runs held back from tuning", "held_back"), ("All runs", "all")):
        if result["simulated"] and key == "all":
            continue
        parts.append(f"## {'Simulated runs' if result['simulated'] else title}\n")
        for what, words in (("node_and_kind", "Node and kind"), ("node", "Node alone")):
            parts += [f"{words}:\n", scores_table({name: scores[what] for name, scores in result[key].items()}), ""]
    clean = result["held_back"][OURS]["node_and_kind"]["clean"]
    parts.append(f"Alarms on clean runs: {clean['false_alarms']} of {clean['runs']}. The other methods rank always.\n")
    kinds = [[kind, f"{right}", f"{runs}"] for kind, (right, runs) in result["held_back"][OURS]["by_kind"].items()]
    parts += ["Ours by kind, of runs with one fault:\n", markdown.table(["kind", "first", "runs"], kinds), ""]
    parts.append(f"{result['seconds_a_bundle']:.2f} s a bundle.\n")
    if result["wrong"]:
        parts += ["What ours had wrong:\n", *(f"- {line}" for line in result["wrong"]), ""]
    parts.append(markdown.listed_misses(result["misses"]))
    return "\n".join(parts)


def scores_table(every: dict[str, Any]) -> str:
    """A row a method."""
    rows = []
    for name, scores in every.items():
        single, pair = scores["single"], scores["concurrent"]
        interval = single["ac1_interval"]
        reach = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-"
        figures = [markdown.shown(value, 3) for value in (single["ac1"], single["ac3"], single["avg5"])]
        pairs = [markdown.shown(value, 3) for value in (pair["ac1"], pair["ac2"], pair["avg5"])]
        rows.append([name, str(single["runs"]), figures[0], reach, *figures[1:], str(pair["runs"]), *pairs])
    head = ["method", "single", "AC@1", "95 %", "AC@3", "Avg@5", "pairs", "AC@1", "AC@2", "Avg@5"]
    return markdown.table(head, rows)


def smoke() -> int:
    """Twelve simulated bundles, ours alone; the result is printed and not kept."""
    with tempfile.TemporaryDirectory(prefix="causes-") as place:
        result = results.begun("causes", simulated=True, seed=1)
        score(result, simulate(Path(place), 12, 1), None, Path(place))
    show("report", report(result))
    scored = result["held_back"][OURS]["node_and_kind"]
    return 0 if scored["single"]["runs"] == 6 and scoring.wilson(1, 2) else 1


if __name__ == "__main__":
    sys.exit(main())
