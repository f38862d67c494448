"""One lab for the whole session: real Debian hosts, deployed once by the real pyinfra command line. Fixtures.

With CLUSTER_TEST_HOME set, that state is used and left up, which makes repeated runs quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.operated_lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one control and two compute hosts, converged."""
    if os.geteuid() != 0:
        pytest.skip("a lab of real hosts needs root")
    given = os.environ.get("CLUSTER_TEST_HOME")
    home = Path(given) if given else tmp_path_factory.mktemp("home")
    bare = Lab(home, None)
    up = bare.run("lab", "up", "--nodes", "2", seconds=1200)
    if up.status:
        pytest.fail(f"cluster lab up: {up.stderr}")
    try:
        deploy = bare.run("-y", "--json", "inventories/lab.py", "deploys/all.py", program="pyinfra", seconds=2400)
        assert deploy.status == 0, deploy.stderr[-3000:]
        yield Lab(home, deploy.json)
    finally:
        if not given:
            bare.run("lab", "down", seconds=300)


@pytest.fixture
def healthy(lab: Lab) -> Iterator[Callable[[Callable[[], object]], None]]:
    """The lab is verified before a test breaks it; what the test gives to `healthy` mends it afterwards."""
    lab.wait_until_verified()
    repairs: list[Callable[[], object]] = []
    yield repairs.append
    for repair in repairs:
        repair()
    lab.wait_until_verified()
