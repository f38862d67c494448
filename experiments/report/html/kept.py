"""Causes seen in the telemetry, versions of everything, and the bundle's files with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.causes.ranking import FOUND
from experiments.report import words
from experiments.report.bundle_files import BundleFiles
from experiments.report.html.parts import Block, Section, Table, Text, Tone

VERSIONS, CAUSES = "versions.json", "results/causes.json"
SHOWN_CAUSES = 8


def causes(files: BundleFiles, ranked: Mapping[str, Any] | str) -> Section:
    """What the telemetry alone says was wrong, and beside it what was injected."""
    if isinstance(ranked, str):
        return Section("causes", "Root causes", missing=ranked)
    found = [one for one in ranked.get("candidates", ()) if isinstance(one, Mapping)]
    named = [one for one in found if one.get("score", 0) >= FOUND and not one.get("accounted_for_by")]
    word = str(ranked.get("verdict", ""))
    if word == "found":
        said, tone = f"found: {words.listed([_named(one) for one in named])}", "busy"
    elif word == "unknown":
        said, tone = "unknown: something changed that no known kind of fault explains", "busy"
    else:
        said, tone = "nothing: the telemetry speaks for no fault", "good"
    blocks: list[Block] = [Text(said[:1].upper() + said[1:], _tone(tone))]
    blocks += [Text(str(one), "idle") for one in ranked.get("odd", ())]
    if files.faults is not None:
        injected = [
            f"{one.get('name', '')} on {', '.join(str(node) for node in one.get('nodes', ()))}" for one in files.faults
        ]
        blocks.append(Text(f"Injected was: {words.listed(injected) if injected else 'nothing'}."))
    if found:
        rows = [
            [
                str(place),
                str(one.get("node", "")),
                str(one.get("kind", "")),
                f"{one.get('score', 0):.2f}",
                f"{words.after(one.get('began'), files.origin)} to {words.after(one.get('ended'), files.origin)}",
                "; ".join(str(line) for line in one.get("evidence", ())),
                f"follows from {one['accounted_for_by']}"
                if one.get("accounted_for_by")
                else "cause"
                if one in named
                else "too weak",
            ]
            for place, one in enumerate(found[:SHOWN_CAUSES], 1)
        ]
        head = ["", "node", "kind", "score", "when", "what speaks for it", ""]
        blocks.append(Table(head, rows, "Candidates, the best first", frozenset({1, 2, 4, 5, 6})))
    lead = "From metrics, flows and logs alone; what was injected is not read for it."
    return Section("causes", "Root causes", tuple(blocks), lead=lead)


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['kind']} on {one['node']}"


def _tone(word: str) -> Tone:
    return "good" if word == "good" else "busy"


def versions(files: BundleFiles) -> Section:
    """Names and versions, one a line."""
    said = files.json(VERSIONS)
    if not isinstance(said, Mapping):
        return Section("versions", "Versions", missing=files.why(VERSIONS))
    rows = [[name, value] for name, value in _flat(said, "")]
    return Section(
        "versions", "Versions", (Table(["what", "version"], rows, "Versions", frozenset({0, 1}), len(rows) > 12),)
    )


def manifest(files: BundleFiles) -> Section:
    """Every file with its size and hash: the manifest's, or as they are now where it is written after this report."""
    said = files.manifest.get("files")
    blocks: list[Block] = []
    if isinstance(said, Mapping):
        state = str(files.manifest.get("state", ""))
        blocks.append(
            Text(
                f"The bundle is {state}." if state else "The manifest does not say its state.",
                "good" if state == "complete" else "busy",
            )
        )
        rows = [
            [str(name), words.size(one.get("bytes")), str(one.get("sha256", ""))]
            for name, one in said.items()
            if isinstance(one, Mapping)
        ]
    else:
        blocks.append(
            Text(
                "manifest.json is not there: it is written last. These are the files as they were.",
                "idle",
            )
        )
        rows = [[name, words.size(size), digest] for name, size, digest in _now(files.directory)]
    if not rows:
        return Section("manifest", "Manifest", missing="the bundle has no files")
    title = words.counted(len(rows), "file")
    blocks.append(Table(["file", "size", "SHA-256"], rows, title, frozenset({0, 2}), folded=True))
    return Section(
        "manifest",
        "Manifest",
        tuple(blocks),
        lead="“sha256sum FILE” in the bundle's directory gives the same, without this program.",
    )


def _flat(said: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} · ")
        else:
            yield f"{before}{name}", words.plain(value)


def _now(directory: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if (
            path.is_file()
            and not path.is_symlink()
            and not path.name.startswith(".")
            and name not in ("report.html", "manifest.json")
        ):
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            yield name, path.stat().st_size, digest
