"""`cluster experiment` where nothing is run: list, show, check, and words that say nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.bundle import layout, manifest, writing
from experiments.bundle.journal import Journal
from experiments.configuration import parameters, suites
from tests.conftest import Typed


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole bundle in the working directory, made here."""
    monkeypatch.chdir(tmp_path)
    directory = writing.new_directory(Path(layout.FETCHED), "smoke-closed", 1_796_000_000.0)
    lines = Journal(directory)
    lines.add("run", cluster="laptop", suite="smoke", suite_began=1.0, position=0)
    lines.close()
    writing.write_json(directory, layout.VERDICT, {"verdict": "INVALID", "causes": [{"detail": "too short"}]})
    manifest.write(directory, cluster="laptop", started=1_796_000_000.0, ended=1_796_000_060.0, state="complete")
    return directory


def test_list_has_suites_and_bundles(typed: Typed, bundle: Path) -> None:
    status, out, _ = typed("experiment", "list", "--json")
    told = json.loads(out)
    assert status == 0 and [suite["name"] for suite in told["suites"]] == suites.names()
    assert [(row["id"], row["state"], row["verdict"]) for row in told["bundles"]] == [
        (bundle.name, "complete", "INVALID")
    ]
    (bundle / layout.MANIFEST).write_text("damaged")
    status, out, _ = typed("experiment", "list")
    assert status == 0 and "unreadable" in out


def test_show_of_a_bundle_and_of_a_suite_of_like_name(typed: Typed, bundle: Path) -> None:
    status, out, _ = typed("experiment", "show", "last")
    assert status == 0 and out.startswith(f"{bundle.name}: complete, on laptop, INVALID")
    status, out, _ = typed("experiment", "show", "smoke")
    assert status == 0 and "smoke-open" in out and "poisson 1, 12 s each" in out
    status, out, _ = typed("experiment", "show", "smoke", "--resolved", "-e", "llm_benchmark_seed=9")
    row = next(line.split() for line in out.splitlines() if line.startswith("llm_benchmark_seed"))
    assert status == 0 and row == ["llm_benchmark_seed", "9", "command", "line", "-e", "(1)"]
    status, _, said = typed("experiment", "show", "nothing")
    assert status == 2 and "neither a file nor a suite" in said and "no such bundle" in said


def test_check_finds_one_changed_byte(typed: Typed, bundle: Path) -> None:
    assert typed("experiment", "check", "last")[0] == 0
    assert typed("experiment", "show", "last", "--check")[0] == 0
    content = (bundle / layout.VERDICT).read_bytes()
    (bundle / layout.VERDICT).write_bytes(content.replace(b"INVALID", b"_NVALID"))
    status, out, said = typed("experiment", "check", bundle.name)
    assert status == 1 and "results/verdict.json was changed" in out and "2 of 3 checks hold" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "smoke", "--tags", "deploy,nothing"], "nothing is no tag; the tags are deploy, benchmark, chaos"),
        (["run", "smoke", "--tags", ","], "nothing is no tag"),
        (["run", "smoke", "-e", "llm_benchmark_seed"], "no `key=value`"),
        (["run", "smoke", "-e", "llm_benchmark_sed=1"], "did you mean llm_benchmark_seed?"),
        (["run", "smoke", "--resume"], "no run of it on laptop"),
        (["run", "no-such-file.yaml"], "neither a file nor a suite"),
        (["replay", "last"], "no bundle yet"),
        (["check", "nothing"], "no such bundle"),
    ],
)
def test_words_that_say_nothing_are_refused(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, complaint = typed("experiment", *words)
    assert status == 2 and said in complaint and "Traceback" not in complaint
    assert not list(tmp_path.glob("fetched/*"))


def test_schema_is_what_editors_are_given(typed: Typed) -> None:
    status, out, _ = typed("experiment", "schema")
    assert status == 0 and json.loads(out) == parameters.schema()
