"""What the plan recommends can be pasted into an inventory, and what `up` asks before it starts accepts it.

Over all profiles and all models, at three contexts each: the line is evaluated, composed, parsed as a host's settings
and judged by the check of `up` and of the deploy (deploys/fit.py). What does not fit is refused by both. Where the
profile states no memory, the host's is that of the plan's calibration.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploys.fit import fit_check
from deploys.settings import parse
from hardware.catalog.geforce_rtx_5070 import GEFORCE_RTX_5070
from hardware.catalog.h200 import H200
from hardware.catalog.radeon_rx_7600_xt import RADEON_RX_7600_XT
from hardware.containers import containers
from hardware.geforce_pair import CLUSTER as GEFORCE_PAIR
from hardware.lab import lab
from hardware.laptop import laptop
from hardware.model import GIB, Cluster, ProfileError
from hardware.planner import plan, serving_line
from hardware.planner.calibration import Calibration
from hardware.planner.options import Options
from hardware.planner.placement import hardware_of
from hardware.planner.prediction import Workload
from hardware.planner.served import ServedModel
from hardware.v0_1 import CLUSTER as V0_1
from hardware.v0_2 import CLUSTER as V0_2
from inventories import models
from inventories.composition.compose import Serving, Site, compose
from inventories.models import places

# Memory of the machine where the profile states none, in GiB.
PROFILES: dict[str, tuple[Cluster, int | None]] = {
    "v0_1": (V0_1, None),
    "v0_2": (V0_2, None),
    "geforce_pair": (GEFORCE_PAIR, None),
    "h200s": (containers(2, H200), None),
    "containers": (containers(2), None),
    "containers_amd": (containers(3, RADEON_RX_7600_XT), None),
    "containers_nvidia": (containers(2, GEFORCE_RTX_5070), None),
    "laptop of 8 GiB": (laptop(2), 8),
    "laptop of 24 GiB": (laptop(2), 24),
    "lab of 64 GiB": (lab(3), 64),
}


def known(memory: int | None, cluster: Cluster) -> Calibration | None:
    """A machine's figures as they are measured, where the profile has none."""
    if cluster.runtime_kind != "cpu":
        return None
    return Calibration(
        hardware="processor",
        engine="",
        memory_bytes=memory * GIB if memory else None,
        memory_bytes_per_second=3e10,
        flops_per_second=(("float32", 2e11), ("bfloat16", 2e11), ("float16", 2e11)),
    )


def contexts(served: ServedModel) -> Iterator[int]:
    """The longest that is served, one that nobody asked for yet, and a short one."""
    length = served.length or 0
    yield from (length, max(1, length * 3 // 4 + 1), max(1, length // 8))


def accepted(cluster: Cluster, memory: int | None, line: str) -> set[bool | None]:
    """What `up` says of a pasted line on the compute nodes; one that cannot be composed is refused."""
    addresses = {node.name: f"192.0.2.{10 + index}" for index, node in enumerate(cluster.nodes)}
    site = Site(login_user="admin", shared_processors=hardware_of(cluster).sharing(2) > 1)
    serving = eval(line, {"Serving": Serving})  # noqa: S307 (our own line, as an operator pastes it)
    try:
        _, compute = compose(cluster, addresses=addresses, serving=serving, site=site, name="pasted")
    except ProfileError:
        return {False}
    checks = [fit_check(parse(node, data["settings"]), memory * GIB if memory else None) for node, data in compute]
    return {check.ok for check in checks if check}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", PROFILES)
def test_what_the_plan_recommends_is_accepted(name: str) -> None:
    cluster, memory = PROFILES[name]
    recommended = 0
    for model in places.names():
        served = models.entry(model).served
        for length in contexts(served):
            work = Workload(max(1, length // 4), max(1, length // 4), (8,))
            made = plan.make(cluster, served, work, Options(max_model_len=length), known(memory, cluster))
            where = f"{model} at {length} tokens on {name}"
            if made.recommended is None:
                assert made.refusal, where
                refused = [one for one in made.candidates if one.said and one.judgement.ok is False]
                for line in {serving_line.serving(made, one) for one in refused[:1]}:
                    assert accepted(cluster, memory, line) == {False}, f"{where}: {line}"
                continue
            recommended += 1
            line = serving_line.serving(made, made.recommended)
            assert line, where
            assert accepted(cluster, memory, line) == {True}, f"{where}: {line}"
    assert recommended >= 6, "a profile on which nothing fits shows nothing"
