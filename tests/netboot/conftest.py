"""The boot server on the one lab's control host, set up by the operator's commands, and guests that boot from it.

No cluster is on the lab yet. CLUSTER_TEST_IMAGE names a directory with a built image; without it the image is built by
the project's own command, or taken from the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploys.pxe_server.declared import DHCP, HTTP
from experiments.boot_lab.lab import BootLab, choose_image, serve
from lab.guests import MACS, Guest, missing_programs
from tests.shared_lab import BareLab


@pytest.fixture(scope="package")
def boot_lab(bare_lab: BareLab) -> Iterator[BootLab]:
    """The boot server is set up; no image is chosen yet. It is silent when these tests are done."""
    if missing := missing_programs():
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    found = BootLab(bare_lab.lab.home, None)
    serve(found)
    yield found
    if not bare_lab.kept:
        found.ssh("control", f"systemctl disable --now {DHCP} {HTTP}")


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
