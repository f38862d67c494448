"""The last of the lab: it is taken down with the cluster on it, and this machine is as before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import lab as hosts_of_this_machine
from experiments.operated_lab import Lab
from lab.network import namespaces
from lab.processes import group_directory
from tests.shared_lab import BareLab, machine_now

pytestmark = pytest.mark.lab


def machine(*arguments: str) -> str:
    """What a command of this machine printed."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30).stdout


def test_down_leaves_nothing(bare_lab: BareLab, lab: Lab) -> None:
    if bare_lab.kept:
        pytest.skip("this lab is kept")
    state = hosts_of_this_machine.state(bare_lab.paths)
    assert state is not None
    for _ in range(2):
        assert lab.run("lab", "down", seconds=300).status == 0
    assert namespaces() == ()
    assert "cluster" not in machine("ip", "netns", "list")
    assert machine_now() == bare_lab.before
    assert "lab0" not in machine("ip", "link")
    assert str(bare_lab.paths.home) not in Path("/proc/self/mountinfo").read_text()
    assert str(state.image) not in machine("losetup", "--list")
    assert not group_directory().exists()
    assert not bare_lab.paths.hosts.exists() and not bare_lab.paths.ssh_key.exists()
    assert hosts_of_this_machine.state(bare_lab.paths) is None
    assert str(bare_lab.paths.home) not in machine("ps", "-e", "-o", "args")
