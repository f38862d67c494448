"""One lab for the whole session: real Debian hosts, brought up once, by everybody who needs real hosts. Fixtures.

Its stages follow each other in the order of `FOLDERS`: the bare hosts, their control host as a boot server, then the
cluster, deployed once by the real pyinfra command line and judged in two ways, and at last its end. With
CLUSTER_TEST_HOME set, the lab of that state is used and left up, which makes repeated runs quick.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import lab as hosts_of_this_machine
from experiments.operated_lab import Lab
from lab.network import namespaces
from lab.paths import LabPaths
from lab.settings import NEEDED

# Folders of tests/ that use the lab, in the order in which they may.
FOLDERS = ("lab", "netboot", "integration", "live")
COMPUTE_HOSTS = 2


@dataclass(frozen=True)
class BareLab:
    """The lab's hosts without a cluster: who uses them, where their state is, this machine as it was before.

    `kept`: they were there before the tests and stay after them.
    """

    lab: Lab
    paths: LabPaths
    before: dict[str, str]
    kept: bool


def machine_now() -> dict[str, str]:
    """What a lab changes of this machine while it is up: routes, packet filter, kernel settings."""
    commands = {"routes": ["ip", "route"], "rules": ["nft", "list", "ruleset"]}
    said = {
        name: subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
        for name, command in commands.items()
    }
    return {**said, **{name: Path(name).read_text() for name in NEEDED}}


@pytest.fixture(scope="session")
def bare_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    """One control and two compute hosts, running."""
    if os.geteuid() != 0:
        pytest.skip("a lab of real hosts needs root")
    given = os.environ.get("CLUSTER_TEST_HOME")
    if not given and namespaces():
        pytest.skip("a lab is up on this machine: run `cluster lab down` first, or give CLUSTER_TEST_HOME")
    home = Path(given) if given else tmp_path_factory.mktemp("home")
    paths = LabPaths(home=home / "lab")
    if problems := hosts_of_this_machine.preflight(paths):
        pytest.skip(problems[0])
    found = BareLab(Lab(home, None), paths, machine_now(), kept=bool(given))
    try:
        up = found.lab.run("lab", "up", "--nodes", str(COMPUTE_HOSTS), seconds=1200)
        if up.status:
            pytest.fail(f"cluster lab up: {up.stderr}")
        yield found
    finally:
        if not given:
            found.lab.run("lab", "down", seconds=300)


@pytest.fixture(scope="session")
def lab(bare_lab: BareLab) -> Lab:
    """The lab with the cluster on it, converged."""
    deploy = bare_lab.lab.run("-y", "--json", "inventories/lab.py", "deploys/all.py", program="pyinfra", seconds=2400)
    assert deploy.status == 0, deploy.stderr[-3000:]
    return Lab(bare_lab.lab.home, deploy.json)


@pytest.fixture
def healthy(lab: Lab) -> Iterator[Callable[[Callable[[], object]], None]]:
    """What the test gives to `healthy` mends what it broke; afterwards the lab is verified, for the next one."""
    repairs: list[Callable[[], object]] = []
    yield repairs.append
    for repair in repairs:
        repair()
    if repairs:
        lab.wait_until_verified()
