"""What tests of several packages share: settings composed from a real profile, in directories of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli import main
from deploys.settings import Settings, parse
from hardware.lab import lab as lab_profile
from hardware.model import Cluster
from inventories.composition.compose import Serving, Site, compose
from tests import shared_lab
from tests.shared_lab import bare_lab, healthy, lab

__all__ = ["bare_lab", "healthy", "lab"]  # fixtures of tests/shared_lab.py, for what needs real hosts

Composed = Callable[..., dict[str, Settings]]
Typed = Callable[..., tuple[int, str, str]]

MODEL = "smollm2-135m-instruct"
SYSTEMD = Site(login_user="admin")
SUPERVISOR = Site(
    login_user="admin",
    service_user="admin",
    service_manager="supervisor",
    shared_files=True,
    connector="loopback",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the one lab comes last, stage by stage."""
    here = Path(__file__).parent
    stages = {here / folder: stage for stage, folder in enumerate(shared_lab.FOLDERS, start=1)}
    items.sort(key=lambda item: stages.get(item.path.parent, 0))


@pytest.fixture
def repository() -> Path:
    """The root of this repository."""
    return Path(__file__).parents[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's directories, empty and in the test's own directory."""
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> Typed:
    """Run `cluster` in this process, as an operator who has nothing yet: (exit status, stdout, stderr)."""
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cluster", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def composed(home: Path) -> Composed:
    """Settings of every host, by name, as an inventory would give them; a lab of two compute nodes unless told.

    `managed` False is the laptop's way: supervisor, no root, shared files.
    """

    def make(
        profile: Cluster | None = None,
        *,
        managed: bool = True,
        addresses: Mapping[str, str] | None = None,
        site: Mapping[str, Any] | None = None,
        **serving: Any,
    ) -> dict[str, Settings]:
        profile = profile or lab_profile(2)
        plan = addresses or {node.name: f"192.0.2.{10 + index}" for index, node in enumerate(profile.nodes)}
        groups = compose(
            profile,
            addresses=plan,
            serving=Serving(**{"model": MODEL, **serving}),
            site=replace(SYSTEMD if managed else SUPERVISOR, **(site or {})),
        )
        hosts = [host for group in groups for host in group]
        found = [parse(name, data["settings"]) for name, data in hosts]
        return {settings.node: settings for settings in found}

    return make


@pytest.fixture
def several(home: Path) -> Composed:
    """Settings of every host of a lab with several models, by default two; the rest of the nodes goes round."""

    def make(*models: str, profile: Cluster | None = None) -> dict[str, Settings]:
        profile = profile or lab_profile(2)
        groups = compose(
            profile,
            addresses={node.name: f"192.0.2.{10 + index}" for index, node in enumerate(profile.nodes)},
            serving=[Serving(model=model) for model in models or (MODEL, "flan-t5-small")],
            site=SYSTEMD,
        )
        found = [parse(name, data["settings"]) for group in groups for name, data in group]
        return {settings.node: settings for settings in found}

    return make
