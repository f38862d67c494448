"""What facts know of this project's clusters without being told: from the host data of a real inventory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.context import ctx_host

from facts import settings
from operate import clusters
from operate.clusters import ClusterInventory


@pytest.fixture
def laptop(home: Path) -> Iterator[ClusterInventory]:
    cluster = clusters.read("laptop")
    with ctx_host.use(SimpleNamespace(name=cluster.control.name, data=cluster.control.data)):
        yield cluster


def test_defaults_are_those_that_the_deploys_use(laptop: ClusterInventory) -> None:
    declared = laptop.control.settings
    assert settings.dashboard() == f"http://{declared.head_address}:{declared.ray.ports.dashboard}"
    assert Path(settings.token_file()).parent == Path(declared.directories.configuration)
    places = settings.engine_places()
    assert {node for node, _, _ in places} == {host.name for host in laptop.compute}
    assert [question["model"] for question in settings.questions()] == [one.model.name for one in declared.applications]
    assert settings.questions()[0]["places"] == places
    assert settings.model_directory() == declared.applications[0].model.directory
