"""facts/programs/model_state.py, run for real on directories of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facts import sources

SCRIPT = sources.text("facts.programs.model_state")
FILES = {"model.safetensors": b"weights" * 1000, "config.json": b"{}", "tokenizer/tokenizer.json": b"[]"}


def state(directory: Path, *arguments: str) -> dict[str, Any]:
    # As the facts send it: text as an argument, so nothing has to be installed on the host.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(directory), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole model's directory with its manifest."""
    directory = tmp_path / "model"
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in FILES.items()
    }
    (directory / "manifest.json").write_text(json.dumps({"files": files}))
    return directory


def alter_unseen(file: Path) -> None:
    """Another content of the same size and time, as a bad disk would make it."""
    before = file.stat()
    file.write_bytes(b"W" + file.read_bytes()[1:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_missing(tmp_path: Path) -> None:
    assert state(tmp_path / "none") == {"state": "missing", "problems": [], "bytes": 0}


def test_a_file_in_its_place_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    assert state(tmp_path / "model")["state"] == "missing"


def test_unknown_without_a_manifest(model: Path) -> None:
    (model / "manifest.json").unlink()
    assert state(model) == {"state": "unknown", "problems": ["manifest.json is missing"], "bytes": 0}


def test_whole(model: Path) -> None:
    size = sum(len(content) for content in FILES.values())
    assert state(model) == {"state": "whole", "problems": [], "bytes": size}
    assert set(json.loads((model / ".verified.json").read_text())) == set(FILES)
    assert state(model)["state"] == "whole"


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda file: file.write_bytes(b"weights"), "model.safetensors has 7 bytes instead of 7000"),
    "altered": (lambda file: file.write_bytes(b"W" + file.read_bytes()[1:]), "model.safetensors does not match"),
    "gone": (lambda file: file.unlink(), "model.safetensors is missing"),
}


@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt(model: Path, damage: str, seen_before: bool) -> None:
    if seen_before:
        assert state(model)["state"] == "whole"
    harm, said = DAMAGE[damage]
    harm(model / "model.safetensors")
    found = state(model)
    assert found["state"] == "corrupt"
    assert len(found["problems"]) == 1 and said in found["problems"][0]
    # It stays corrupt: a wrong directory leaves no stamp that the next look would trust.
    assert state(model)["state"] == "corrupt"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"other": {}}'])
def test_a_manifest_that_cannot_be_read(model: Path, text: str) -> None:
    (model / "manifest.json").write_text(text)
    found = state(model)
    assert found["state"] == "corrupt"
    assert found["problems"][0].startswith("manifest.json cannot be read")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "names no file"),
        ([], "names no file"),
        (None, "names no file"),
        ({"config.json": {}}, "no bytes for config.json"),
        ({"config.json": {"bytes": 2}}, "no sha256 for config.json"),
        ({"config.json": {"sha256": "0"}}, "no bytes for config.json"),
        ({"config.json": "0"}, "no bytes for config.json"),
        ({"config.json": {"bytes": "2", "sha256": "0"}}, "no bytes for config.json"),
    ],
)
def test_a_manifest_that_judges_nothing(model: Path, files: Any, said: str) -> None:
    (model / "manifest.json").write_text(json.dumps({"files": files}))
    found = state(model)
    assert found["state"] == "corrupt"
    assert said in found["problems"][0]


def test_the_stamp_is_trusted_and_full_reads_everything_again(model: Path) -> None:
    assert state(model)["state"] == "whole"
    alter_unseen(model / "model.safetensors")
    assert state(model)["state"] == "whole", "same size, same time: a stat a file is all that is paid"
    assert state(model, "full")["state"] == "corrupt"


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_stamp_that_cannot_be_read_is_ignored(model: Path, text: str) -> None:
    (model / ".verified.json").write_text(text)
    assert state(model)["state"] == "whole"
    assert set(json.loads((model / ".verified.json").read_text())) == set(FILES)
