"""The controller of faults is killed with -9 in the middle of every fault; the lab's hosts heal by their own timers.

Each fault is a real one on a real host, read back from the host's kernel, processes and files, and for the network
measured by traffic. Of a cluster nothing is needed but the hosts' inventory. It comes after test_live_lab.py, which
compares the hosts' packages with their image's: here the tools of faults are installed.
"""

from __future__ import annotations

import asyncio

import pytest

from experiments.lab_cluster import LabCluster, read_cluster
from experiments.schedule import chaos, healing_matrix
from experiments.schedule.dead_man import end_probe, prove, serve_probe
from tests.shared_lab import BareLab

pytestmark = pytest.mark.lab


@pytest.fixture
def cluster(bare_lab: BareLab, monkeypatch: pytest.MonkeyPatch) -> LabCluster:
    """The lab's hosts, with the tools of faults."""
    monkeypatch.setenv("CLUSTER_HOME", str(bare_lab.lab.home))
    done = bare_lab.lab.run("-y", "inventories/lab.py", "deploys.faults.deploy.fault_tools", program="pyinfra")
    assert done.status == 0, done.stderr[-2000:]
    return read_cluster("lab", deployed=False)


def test_every_host_heals_by_its_own_timer_when_the_controller_is_killed(cluster: LabCluster) -> None:
    async def scene() -> list[str]:
        said = []
        await healing_matrix.prepare(cluster)
        await serve_probe(cluster, 600)
        try:
            for cases in healing_matrix.rounds(sorted(cluster.declared)):
                done = await prove(cluster, "lab", cases)
                said += [*done.misses, *healing_matrix.unfelt(cases, done)]
                assert len(done.windows) == len(cases)
        finally:
            await end_probe(cluster)
            await healing_matrix.clean(cluster)
        left = await chaos.left(cluster, list(cluster.hosts))
        return [*said, *(f"{node}: {part}" for node, parts in left.items() for part in parts)]

    assert asyncio.run(scene()) == []
