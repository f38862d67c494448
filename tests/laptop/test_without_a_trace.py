"""The last of this folder, by its name: the laptop cluster ends, and nothing of it is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.laptop.conftest import Operator

pytestmark = pytest.mark.cluster


def test_down_leaves_no_process_behind(laptop: Operator) -> None:
    assert laptop.cluster("down").status == 0
    left = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if entry.name.isdigit() and str(laptop.home).encode() in environment and b"CLUSTER_NODE_NAME=" in environment:
            left.append((entry / "cmdline").read_bytes())
    assert left == []
    sessions = [*Path("/tmp", f"cluster-{os.getuid()}").glob("laptop.*/session_*")]
    assert sessions == []
    assert laptop.cluster("down", "--json").json["changed"] == 0
    status = laptop.cluster("status", "--json")
    assert status.status == 1
    assert status.json["application"] == "DOWN"
