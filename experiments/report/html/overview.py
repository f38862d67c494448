"""What was done, and whether its figures can be trusted. Pure but for reading the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from experiments.report import requests, words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html.parts import Block, Section, Table, Text, Tile, Tiles, Tone

VERDICT, SOURCES = "results/verdict.json", "experiment.sources.json"


def done(files: BundleFiles) -> Section:
    """Tiles, parameters with where each came from, and the phases of the run."""
    blocks: list[Block] = [Tiles(tuple(_tiles(files)))]
    phases = tuple(_phases(files))
    if phases:
        rows = [
            [name, words.after(began, files.origin), words.seconds(lasted), said]
            for name, began, lasted, said in phases
        ]
        blocks.append(Table(["phase", "began at", "took", "ended"], rows, "Phases of the run", frozenset({0, 3})))
    parameters = tuple(_parameters(files))
    if parameters:
        head = ["parameter", "value", "from"]
        blocks.append(Table(head, parameters, f"All {len(parameters)} parameters", frozenset({0, 1, 2}), folded=True))
    else:
        blocks.append(Text(files.why("experiment.yaml"), "idle"))
    description = str(files.parameters.get("exp_description") or "")
    return Section("done", "What was done", tuple(blocks), lead=description)


def verdict(files: BundleFiles) -> Section:
    """VALID or INVALID with its causes; all checks behind a line."""
    said = files.json(VERDICT)
    if not isinstance(said, dict):
        return Section("verdict", "Verdict", missing=files.why(VERDICT))
    failed, unknown, causes = (_checks(said, name) for name in ("causes", "unknown", "checks"))
    # A verdict of causes alone has those that hold and those that could not be told among them.
    unknown += [one for one in failed if one.get("ok") is None]
    causes = causes or failed
    failed = [one for one in failed if one.get("ok") is False]
    valid = said.get("verdict") == "VALID"
    tone: Tone = "good" if valid else "bad"
    what = "VALID: the figures can be used" if valid else "INVALID: the figures below are not to be compared or quoted"
    if failed and not valid:
        what += f", for {words.counted(len(failed), 'reason')}"
    blocks: list[Block] = [Text(what, tone)]
    for one in failed:
        blocks.append(Text(f"{one.get('name', '')}: {one.get('detail', '')}", "bad", str(one.get("remedy", ""))))
    if unknown:
        names = words.listed([str(one.get("name", "")) for one in unknown])
        blocks.append(Text(f"Could not be told: {names}.", "busy", "the table of all checks says why"))
    if causes:
        signs = {True: "holds", False: "does not hold", None: "could not be told"}
        tones: dict[bool | None, Tone] = {True: "good", False: "bad", None: "busy"}
        rows = [[str(one.get("name", "")), signs.get(one.get("ok"), "?"), str(one.get("detail", ""))] for one in causes]
        looks = {row: tones.get(one.get("ok"), "idle") for row, one in enumerate(causes)}
        title = words.counted(len(causes), "check")
        blocks.append(Table(["check", "result", "what was seen"], rows, title, frozenset({0, 1, 2}), True, looks))
    return Section("verdict", "Verdict", tuple(blocks))


def _checks(said: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = said.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def word(files: BundleFiles) -> tuple[str, Tone]:
    """The verdict for the head of the page."""
    said = files.json(VERDICT)
    found = str(said.get("verdict", "")) if isinstance(said, dict) else ""
    if found == "VALID":
        return "VALID", "good"
    return (found, "bad") if found else ("no verdict", "idle")


def _tiles(files: BundleFiles) -> Iterator[Tile]:
    manifest, parameters = files.manifest, files.parameters
    begun = next((entry for entry in files.journal if entry.get("kind") == "run"), {})
    cluster = str(manifest.get("cluster") or begun.get("cluster") or "")
    if cluster:
        yield Tile("Cluster", cluster, "")
    if model := parameters.get("model_id"):
        yield Tile("Model", str(model))
    started = manifest.get("started") or begun.get("at")
    ended = manifest.get("ended") or (files.journal[-1]["at"] if files.journal else None)
    if isinstance(started, int | float):
        lasted = words.seconds(ended - started) if isinstance(ended, int | float) else ""
        moment = words.moment(started)
        yield Tile("Began", moment[11:16], f"{moment[:10]} UTC" + (f", took {lasted}" if lasted else ""))
    found = requests.read(files)
    if found is not None:
        counted = ~found.warm_up
        failed = int((found.failed & counted).sum())
        note = f"{failed:,} failed" if failed else "none failed"
        tone: Tone | None = "bad" if failed else None
        yield Tile("Requests", f"{int(counted.sum()):,}", f"{note}; {int(found.warm_up.sum()):,} to warm up", tone)
        yield Tile("Nodes", f"{len(found.nodes)}", ", ".join(found.nodes))
    if files.faults:
        names = sorted({str(one.get("name", "")) for one in files.faults})
        yield Tile("Faults", f"{len(files.faults)}", ", ".join(names))
    state = str(manifest.get("state") or ("under way, or died" if files.journal else ""))
    if state and state != "complete":
        yield Tile("State", state, "what there is is shown", "busy")


def _phases(files: BundleFiles) -> Iterator[tuple[str, float, float | None, str]]:
    open_since: dict[str, float] = {}
    for entry in files.journal:
        if entry.get("kind") != "phase":
            continue
        name, state = str(entry.get("phase") or entry.get("name") or ""), str(entry.get("state", ""))
        if state in ("ended", "failed", "stopped") and name in open_since:
            began = open_since.pop(name)
            yield name, began, float(entry["at"]) - began, state
        elif state not in ("ended", "failed", "stopped"):
            open_since[name] = float(entry["at"])
    for name, began in open_since.items():
        yield name, began, None, "did not end"


def _parameters(files: BundleFiles) -> Iterator[list[str]]:
    sources = files.json(SOURCES)
    for name, value in files.parameters.items():
        yield [str(name), words.plain(value), _source(sources.get(name) if isinstance(sources, Mapping) else None)]


def _source(said: Any) -> str:
    if not isinstance(said, Mapping):
        return ""
    line = said.get("line")
    return PurePath(str(said.get("file", ""))).name + (f", line {line}" if line else "")
