"""fetch_model.py refuses a source that is none before it does anything: exactly which key, and what is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facts.programs import model_state

PROGRAM = "deploys.vllm.programs.fetch_model"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"kind": "hub", "repository": "a"},
            "model source hub has no key 'revision'; it needs repository and revision",
        ),
        ({"kind": "pypi-gguf", "file": "a"}, "model source pypi-gguf has no key 'package'; it needs package and file"),
        ({"kind": "hub", "repository": "a/b", "revision": 3}, "model source hub: revision is 3, not a text"),
        ({"kind": "ftp"}, "model source kind 'ftp' is not known; known kinds are pypi-gguf, hub, directory"),
        ({"kind": ["hub"]}, "model source kind ['hub'] is not known; known kinds are pypi-gguf, hub, directory"),
        ({}, "the model source has no key 'kind'; known kinds are pypi-gguf, hub, directory"),
        (["hub"], "the model source is [\"hub\"], not an object with the key 'kind'"),
    ],
)
def test_a_source_that_is_none(start: Any, tmp_path: Path, source: Any, said: str) -> None:
    directory = tmp_path / "models" / "small"
    process = start(PROGRAM, str(directory), json.dumps(source))
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (1, f"small: {said}\n")
    assert not directory.parent.exists()


def test_a_damaged_directory_is_mended_from_where_it_came(start: Any, tmp_path: Path) -> None:
    mine, directory = tmp_path / "mine", tmp_path / "models" / "small"
    mine.mkdir()
    for name, text in (
        ("config.json", "{}"),
        ("model.safetensors", "weights"),
        ("consolidated.safetensors", "weights"),
    ):
        (mine / name).write_text(text)
    source = json.dumps({"kind": "directory", "path": str(mine)})

    def run(options: str) -> None:
        process = start(PROGRAM, str(directory), source, options)
        assert process.communicate(timeout=30)[1] == "" and process.returncode == 0

    run("{}")
    assert not (directory / "consolidated.safetensors").exists(), "a second copy of the weights"
    (directory / "model.safetensors").write_text("damaged")
    run("{}")
    assert model_state.judge(directory, full=True)[0] == "corrupt"
    run('{"mend": true}')
    assert model_state.judge(directory, full=True) == ("whole", [], 9)
    assert not directory.with_name("small.partial").exists()
