"""What `cluster experiment` shows of suites, of bundles and of what became of runs."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import display
from experiments.bundle import manifest, reading
from experiments.configuration import resolving, suites
from experiments.errors import ExperimentError
from operate import clusters
from operate.errors import DOES_NOT_HOLD, OperatorError, verdict

if TYPE_CHECKING:
    from experiments.bundle.reading import Bundle
    from experiments.configuration.resolving import Resolved
    from experiments.runs.suite import Outcome

TAGS = ("deploy", "benchmark", "chaos", "collect-telemetry-data")


def finished(outcomes: list[Outcome], as_json: bool) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure]
    invalid = [outcome for outcome in outcomes if outcome.finished and outcome.finished.verdict == "INVALID"]
    if as_json:
        display.emit({"experiments": [outcome.to_json() for outcome in outcomes]})
    else:
        console = display.results()
        for outcome in outcomes:
            if outcome.finished:
                done = outcome.finished
                console.print(f"{done.verdict or 'not judged'}: {done.bundle} ({done.seconds:.0f} s)", markup=False)
                for cause in done.causes:
                    console.print(f"  {cause.get('detail', '')}", markup=False)
            elif outcome.before:
                console.print(f"ran before: {outcome.before}", markup=False)
            else:
                console.print(f"failed: {outcome.name}: {outcome.failure}", markup=False)
    if failed or invalid:
        sys.exit(DOES_NOT_HOLD)


def read(path: Path) -> Bundle | OperatorError:
    try:
        return reading.read(path)
    except ExperimentError as error:
        return OperatorError(f"{path.name}: {error}")


def row(entry: Bundle | OperatorError) -> dict[str, Any]:
    if isinstance(entry, OperatorError):
        name, _, why = str(entry).partition(": ")
        return {"id": name, "cluster": None, "began": None, "state": f"unreadable: {why}", "verdict": None}
    began = datetime.fromtimestamp(entry.started).isoformat(" ", "seconds") if entry.started else None
    state = entry.state + (f" ({entry.stopped_in})" if entry.stopped_in else "")
    return {"id": entry.name, "cluster": entry.cluster, "began": began, "state": state, "verdict": entry.verdict}


def show_suite(name: str, what: str, words: tuple[str, ...], resolved: bool, as_json: bool) -> None:
    from experiments.runs.suite import resolve_all

    suite, given = suites.load(what), resolving.command_line(words)
    found = resolve_all(suite, given, clusters.read(name), frozenset(TAGS))
    if as_json:
        each = [{"values": one.values(), "sources": one.sources()} for one in found]
        display.emit({"suite": suite.name, "description": suite.description, "experiments": each})
        return
    if resolved:
        for one in found:
            _table_of(one)
        return
    rows = [
        (
            one.parameters.exp_type_identifier,
            one.parameters.model_id or "-",
            _load_of(one),
            ", ".join(one.parameters.chaos_experiment_scenario) or "-",
        )
        for one in found
    ]
    display.table(suite.description or suite.name, ("experiment", "model", "load", "faults"), rows)


def _load_of(resolved: Resolved) -> str:
    told = resolved.parameters
    how = told.llm_benchmark_arrivals
    values = told.llm_benchmark_concurrent_workers if how == "closed" else told.llm_benchmark_target_qps_values
    said = told.llm_benchmark_trace if how == "trace" else ", ".join(f"{value:g}" for value in values)
    times = f", {told.llm_benchmark_iterations} times" if told.llm_benchmark_iterations > 1 else ""
    return f"{how} {said}, {told.llm_benchmark_duration:g} s each{times}"


def _table_of(resolved: Resolved) -> None:
    values = resolved.values()
    rows = [(name, f"{values[name]}", place.layer, str(place)) for name, place in resolved.places.items()]
    title = resolved.parameters.exp_type_identifier
    display.table(title, ("parameter", "value", "layer", "from"), rows)


def show_sources(bundle: Path, as_json: bool) -> None:
    from experiments.runs.replaying import resolved

    found = resolved(bundle)
    if as_json:
        display.emit({"values": found.values(), "sources": found.sources()})
    else:
        _table_of(found)


def show_bundle(bundle: Path, as_json: bool) -> None:
    seen = reading.read(bundle)
    if as_json:
        display.emit(seen.to_json())
        return
    console = display.results()
    console.print(f"{seen.name}: {seen.state}, on {seen.cluster or '?'}, {seen.verdict or 'not judged'}", markup=False)
    if seen.state != "complete":
        console.print(f"stopped in {seen.stopped_in or 'no phase'}: {seen.why}", markup=False)
    rows = [(name, str(size)) for name, size in seen.to_json()["files"].items()]
    display.table("", ("file", "bytes"), rows)


def check(bundle: Path, as_json: bool) -> None:
    checks = manifest.check(bundle)
    if as_json:
        display.emit({"bundle": str(bundle), "checks": checks})
    else:
        display.checks_table(checks, only_problems=True)
        right = sum(check.ok is True for check in checks)
        display.words().print(f"{bundle.name}: {right} of {len(checks)} checks hold", markup=False)
    sys.exit(verdict(checks))
