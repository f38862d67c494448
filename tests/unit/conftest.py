"""Nobody's clusters, and images that were not built: a directory with four files, small, and right by its manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from images.store import FILES, MANIFEST, Image, file_entry, read

Made = Callable[..., Image]


@pytest.fixture(autouse=True)
def nobodys_clusters(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What whoever runs the tests has of clusters is nothing to them."""
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path_factory.getbasetemp() / "nobody"))


@pytest.fixture
def made(home: Path, tmp_path: Path) -> Made:
    """made(name, age=...) puts an image into the operator's store; a larger age is an older image."""

    def make(name: str, *, age: int = 0, store: Path | None = None) -> Image:
        directory = (store or tmp_path / "cache" / "images") / name
        directory.mkdir(parents=True)
        for file in FILES:
            (directory / file).write_bytes(f"{file} of {name}".encode() * 40)
        variant = name.partition("-")[0]
        manifest = {
            "name": name,
            "variant": variant,
            "kernel": "6.1.0-test",
            "files": {file: file_entry(directory / file) for file in FILES},
            "inputs": {"variant": variant},
            "packages": {"bash": "5.2"},
        }
        (directory / MANIFEST).write_text(json.dumps(manifest))
        os.utime(directory / MANIFEST, (2_000_000_000 - age, 2_000_000_000 - age))
        return read(directory)

    return make
