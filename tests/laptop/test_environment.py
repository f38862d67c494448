"""What of the operator's shell reaches the laptop cluster: neither its variables nor its proxies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.laptop.conftest import PROXIES, SHELL_SECRET, Operator

pytestmark = pytest.mark.cluster


def test_no_process_of_the_cluster_has_the_variables_of_the_shell(laptop: Operator) -> None:
    cluster, with_secret = [], []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = dict(entry.partition("=")[::2] for entry in path.read_text(errors="replace").split("\0"))
        except OSError:
            continue
        if variables.get("CLUSTER_NAME") != "laptop":
            continue
        cluster.append(path)
        if SHELL_SECRET in variables:
            with_secret.append(Path(path.parent, "cmdline").read_text().replace("\0", " ")[:200])
    assert len(cluster) > 4, "the raylets and what they start"
    assert with_secret == []


def test_status_of_every_host_asks_no_proxy(laptop: Operator) -> None:
    """Nor does `up`, with its verification and its question: test_laptop.py runs it with these proxies."""
    done = laptop.cluster("status", "--full", seconds=300, extra=PROXIES)
    assert done.status == 0, done.stdout + done.stderr
