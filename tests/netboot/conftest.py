"""The boot server on the lab's control host, set up by the operator's commands, and the guests that boot from it.

All of it ends with this package: there is one lab a machine, and other tests have theirs to the end of the session.
With CLUSTER_TEST_HOME set, the lab of that state is used and left up. CLUSTER_TEST_IMAGE names a directory with a built
image; without it the image is built by the project's own command, or taken from the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.boot_lab.lab import BootLab, choose_image, serve
from lab.guests import MACS, Guest, missing_programs


@pytest.fixture(scope="package")
def boot_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootLab]:
    """Lab up, boot server set up; no image chosen yet."""
    if os.geteuid() != 0:
        pytest.skip("a lab of real hosts needs root")
    if missing := missing_programs():
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    given = os.environ.get("CLUSTER_TEST_HOME")
    found = BootLab(Path(given) if given else tmp_path_factory.mktemp("home"), None)
    up = found.run("lab", "up", "--nodes", "1", seconds=1200)
    assert up.status == 0, up.stderr
    try:
        serve(found)
        yield found
    finally:
        if not given:
            found.run("lab", "down", seconds=300)


@pytest.fixture(scope="package")
def image(boot_lab: BootLab) -> Path:
    """A built image, sent to the control host and chosen for every guest."""
    given = os.environ.get("CLUSTER_TEST_IMAGE")
    return choose_image(boot_lab, Path(given) if given else None)


@pytest.fixture(scope="package")
def guests(boot_lab: BootLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Guest]]:
    """A guest by name and firmware; all are powered off at the end."""
    directory = tmp_path_factory.mktemp("guests")
    made: dict[tuple[str, str], Guest] = {}

    def guest(name: str, firmware: str) -> Guest:
        return made.setdefault((name, firmware), Guest(name, MACS[name], firmware, directory))

    yield guest
    for entry in made.values():
        entry.power_off()
