"""The short form of a report: plain lines for a terminal or a log, no colour. Reads only the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import causes
from experiments.causes.telemetry import FLOWS, METRICS
from experiments.errors import ExperimentError
from experiments.report import limit, requests, words
from experiments.report.bundle_files import BundleFiles

COLUMNS = 100
NAME = 12
WIDTHS = (8, 8, 11, 10, 11, 10, 10)


def lines(bundle: Path) -> list[str]:
    """The lines. ExperimentError where there is no bundle; a file that is missing is said in its line."""
    files = BundleFiles(bundle)
    return [
        line.rstrip()
        for part in (_head, _verdict, _load, _faults, _recovery, _limit, _causes, _end)
        for line in _safe(part, files)
    ]


def _safe(part: Any, files: BundleFiles) -> Iterator[str]:
    try:
        yield from list(part(files))
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        yield from _said(part.__name__.lstrip("_"), f"cannot be shown: {type(error).__name__}: {error}")


def _said(name: str, text: str) -> Iterator[str]:
    """`name  text`, the text over as many lines as it needs."""
    rest = " ".join(text.split())
    while rest:
        room = COLUMNS - NAME
        cut = len(rest) if len(rest) <= room else rest.rfind(" ", 0, room + 1)
        cut = room if cut <= 0 else cut
        yield f"{name:<{NAME}}{rest[:cut]}"
        name, rest = "", rest[cut:].lstrip()


def _head(files: BundleFiles) -> Iterator[str]:
    yield files.name
    description = files.parameters.get("exp_description")
    if description:
        yield from _said("", str(description))
    cluster, model = files.manifest.get("cluster"), files.parameters.get("model_id")
    what = [f"cluster {cluster}" if cluster else "", f"model {model}" if model else "", words.moment(files.origin)]
    yield from _said("run", ", ".join(one for one in what if one))
    state = files.manifest.get("state")
    if state != "complete":
        yield from _said("state", str(state or "no manifest: the run is under way, or it died; what there is is shown"))


def _verdict(files: BundleFiles) -> Iterator[str]:
    said = files.json("results/verdict.json")
    if not isinstance(said, Mapping):
        yield from _said("verdict", files.why("results/verdict.json"))
        return
    yield from _said("verdict", str(said.get("verdict", "")))
    for one in said.get("causes", ()):
        if one.get("ok") is False:
            yield from _said("", f"{one.get('name')}: {one.get('detail')}")
            if one.get("remedy"):
                yield from _said("", f"  -> {one['remedy']}")


def _load(files: BundleFiles) -> Iterator[str]:
    found = requests.read(files)
    if found is None:
        yield from _said("load", files.why(requests.REQUESTS))
        return
    head = ("step", "got/s", "failed", "TTFT P50", "P99", "ITL P50", "P99", "tokens/s")
    yield f"{'load':<{NAME}}{_row(head)}"
    for step in found.steps:
        figures = [words.seconds(one[share].value) for one in (step.ttft, step.itl) for share in (0.5, 0.99)]
        rate, tokens = words.number(step.rate), words.number(step.output_tokens_per_second)
        yield f"{'':<{NAME}}{_row((step.name[:15], rate, str(step.failed), *figures, tokens))}"


def _row(cells: Sequence[str]) -> str:
    return cells[0].ljust(16) + "".join(cell.rjust(width) for cell, width in zip(cells[1:], WIDTHS, strict=True))


def _faults(files: BundleFiles) -> Iterator[str]:
    if files.faults is None:
        yield from _said("faults", files.why("results/faults.json"))
        return
    if not files.faults:
        yield from _said("faults", "none were injected")
    name = "faults"
    for one in files.faults:
        effect, healed = one.get("took_effect"), one.get("healed")
        where = ", ".join(str(node) for node in one.get("nodes", ()))
        when = f"{words.after(effect, files.origin)} to {words.after(healed, files.origin)}"
        by = f", healed by {one['healed_by']}" if one.get("healed_by") else "" if healed else ", NOT HEALED"
        yield from _said(name, f"{one.get('name')} on {where}: {when}{by}")
        name = ""


def _recovery(files: BundleFiles) -> Iterator[str]:
    said = files.json("results/recovery.json")
    if not isinstance(said, list):
        if files.faults != ():
            yield from _said("recovery", files.why("results/recovery.json"))
        return
    name = "recovery"
    for one in said:
        parts = ", ".join(
            f"{stage} {words.seconds(one.get(stage))}" for stage in ("detect", "drain", "start", "load", "prove")
        )
        yield from _said(name, f"{one.get('fault')} on {one.get('node')}: {words.seconds(one.get('whole'))} ({parts})")
        name = ""


def _limit(files: BundleFiles) -> Iterator[str]:
    found = limit.findings(files)
    yield from _said("limit", found if isinstance(found, str) else found[0].sentence())


def _causes(files: BundleFiles) -> Iterator[str]:
    said = files.json("results/causes.json")
    if not isinstance(said, Mapping):
        try:
            said = causes.rank(files.directory).to_json()
        except ExperimentError:
            yield from _said("causes", files.why(METRICS, FLOWS))
            return
    word = str(said["verdict"])
    if word != "found":
        yield from _said("causes", word + (f": {'; '.join(said['odd'])}" if said.get("odd") else ""))
        return
    name = "causes"
    for one in said["candidates"]:
        if one["score"] >= causes.FOUND and not one["accounted_for_by"]:
            why = "; ".join(one["evidence"][:2])
            yield from _said(name, f"{one['kind']} on {one['node']} (score {one['score']:.2f}): {why}")
            name = ""


def _end(files: BundleFiles) -> Iterator[str]:
    report = files.directory / "report.html"
    yield from _said("report", str(report) if report.is_file() else f"{report} is not written yet")
