"""Plans of faults: read, refused, placed, carried out on nodes of this machine, and read back after a controller died.

The nodes are the laptop's: settings in the test's own directory, and the hosts' real program run by a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploys.faults import catalogue, commands
from deploys.faults.catalogue import CATALOGUE, FaultPlanError
from deploys.faults.commands import Command
from deploys.settings import Settings
from experiments.errors import ExperimentError
from experiments.lab_cluster import here, run
from experiments.load.client import clock
from experiments.schedule import chaos, healing_matrix, plan, targets, windows
from experiments.schedule.dead_man import Case, Round
from experiments.schedule.targets import Target
from experiments.schedule.windows import FaultWindow
from tests.conftest import Composed

without_systemd = pytest.mark.skipif(
    Path("/run/systemd/system").is_dir(), reason="systemd would keep what is started here"
)


class Nodes:
    """The laptop's nodes, whose hosts are this machine."""

    def __init__(self, hosts: dict[str, Settings]) -> None:
        self.hosts = hosts
        self.down: set[str] = set()

    async def host(self, name: str, command: Command, *, seconds: float = 60) -> str:
        if name in self.down:
            raise ExperimentError(f"{name}: no answer")
        return await run(here(name, command.line), stdin=command.stdin, seconds=seconds, what=name)


@pytest.fixture
def nodes(composed: Composed) -> Nodes:
    addresses = {"control": "127.0.0.70", "compute0": "127.0.0.71", "compute1": "127.0.0.72"}
    return Nodes(composed(managed=False, addresses=addresses))


@pytest.fixture
def victims() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A process on each compute node."""
    found = {
        node: subprocess.Popen(["engine-of-chaos", "60"], executable="sleep", env={"CLUSTER_NODE_NAME": node})
        for node in ("compute0", "compute1")
    }
    yield found
    for process in found.values():
        process.kill()
        process.wait()


def _state(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_plan_is_read_from_plain_values_and_completed() -> None:
    (first, second) = plan.from_values(
        ["host-hang", {"fault": "network-loss", "target": {"count": 1}, "hold_seconds": 5, "claims": "network"}]
    )
    assert (first.name, first.hold_seconds, first.target) == ("host-hang", plan.DEFAULT_HOLD_SECONDS, Target())
    assert second.parameters == {"percent": 2.0, "peers": []} and second.claims == ("network",)
    assert second.target == Target(("*",), "compute", 1) and second.end_seconds == 5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fault": "host-hang"}, "a plan of faults is a list"),
        ([{"faults": "host-hang"}], "give at least `fault: NAME`"),
        ([{"fault": "host-hang", "hold_second": 5}], "did you mean 'hold_seconds'"),
        ([{"fault": "host-hang", "hold_seconds": 0}], "hold_seconds is 0; give seconds from 1 to 3600"),
        ([{"fault": "host-hang", "begin_seconds": "now"}], "begin_seconds is 'now'"),
        ([{"fault": "host-hang", "target": 5}], "target is 5; give a node's name"),
        ([{"fault": "host-hang", "target": {"role": "head"}}], "role is 'head'; choose from compute, control, any"),
        ([{"fault": "host-hang", "target": {"count": 0}}], "count is 0"),
        ([{"fault": "host-hang", "parameters": [1]}], "give names with values"),
        ([{"fault": "network-delay", "claims": ["rdma"]}], "RDMA goes past the kernel"),
    ],
)
def test_a_plan_that_cannot_be_says_where_and_what(values: Any, said: str) -> None:
    with pytest.raises(FaultPlanError, match=said):
        plan.from_values(values)


def test_targets_are_chosen_by_name_role_and_number(composed: Composed) -> None:
    hosts, kind = composed(), CATALOGUE["network-loss"]

    def chosen(target: Target, *, own: tuple[str, ...] = (), seed: int = 1) -> list[str]:
        return targets.resolve(target, hosts, kind, own=own, seed=seed)

    assert chosen(Target()) == ["compute0", "compute1"]
    assert chosen(Target(("*",), "any")) == ["control", "compute0", "compute1"]
    assert chosen(Target(("*1",))) == ["compute1"]
    assert len(chosen(Target(count=1))) == 1
    assert {tuple(chosen(Target(count=1), seed=seed)) for seed in range(20)} == {("compute0",), ("compute1",)}
    assert chosen(Target(count=1), seed=3) == chosen(Target(count=1), seed=3)
    for target, said in (
        (Target(("compute9",)), "did you mean 'compute"),
        (Target(count=3), "3 nodes are wanted and 2 fit"),
        (Target(("control*",)), "no compute node that fits"),
    ):
        with pytest.raises(FaultPlanError, match=said):
            chosen(target)


def test_the_controllers_own_nodes_are_never_hit(composed: Composed, nodes: Nodes) -> None:
    hosts, own = composed(), ["control", "compute0"]
    loss, pressure = CATALOGUE["network-loss"], CATALOGUE["cpu-pressure"]
    assert targets.resolve(Target(("*",), "any"), hosts, loss, own=own, seed=0) == ["compute1"]
    assert targets.resolve(Target(("*",), "any"), hosts, pressure, own=own, seed=0) == list(hosts)
    with pytest.raises(FaultPlanError, match="the controller runs on compute0, which it would hit"):
        targets.resolve(Target(("compute0",), "any"), hosts, loss, own=own, seed=0)
    assert targets.own_nodes({"mine": "127.0.0.70", "another's": "192.0.2.1"}) == ["mine"]
    with pytest.raises(FaultPlanError, match="but those that the controller runs on"):
        chaos.placed(nodes, [plan.planned("network-partition")])


def test_faults_that_exclude_each_other_may_follow_but_not_meet(composed: Composed) -> None:
    hosts = composed()
    first = plan.planned("network-delay", hold_seconds=10)
    plan.place([first, plan.planned("network-jitter", begin_seconds=10)], hosts)
    plan.place([first, plan.planned("network-loss")], hosts)
    with pytest.raises(FaultPlanError, match="cannot be on one host at a time"):
        plan.place([first, plan.planned("network-jitter", begin_seconds=9)], hosts)
    plan.place(
        [plan.planned("network-delay", Target(("compute0",))), plan.planned("network-jitter", Target(("compute1",)))],
        hosts,
    )


@without_systemd
def test_a_plan_is_carried_out_side_by_side_and_read_back(
    nodes: Nodes, victims: dict[str, subprocess.Popen[bytes]]
) -> None:
    lines: list[Mapping[str, Any]] = []
    faults = plan.from_values(
        [
            {"fault": "process-freeze", "parameters": {"process": "engine-of-chaos"}, "hold_seconds": 1},
            {
                "fault": "cpu-pressure",
                "target": "compute0",
                "hold_seconds": 1,
                "parameters": {"processes": 1, "load_percent": 5},
            },
            {
                "fault": "memory-pressure",
                "target": "compute1",
                "parameters": {"keep_free_bytes": 1 << 60},
                "hold_seconds": 1,
            },
        ]
    )
    states: list[list[str]] = []

    def journal(line: Mapping[str, Any]) -> None:
        lines.append(line)
        if line["event"] in ("took effect", "healed") and line["name"] == "process-freeze":
            states.append([_state(process) for process in victims.values()])

    freeze, pressure, missed = asyncio.run(chaos.run(nodes, faults, journal, margin_seconds=60))
    assert states[:2] == [["T", "T"], ["S", "S"]]
    for window in (freeze, pressure):
        assert window.healed_by == "controller" and window.healed is not None and window.took_effect is not None
        assert window.began < window.took_effect < window.healed
        assert window.healed - window.took_effect >= 0.9
    assert freeze.nodes == ["compute0", "compute1"] and pressure.nodes == ["compute0"]
    assert pressure.took_effect is not None and freeze.healed is not None
    assert pressure.took_effect < freeze.healed, "one beside the other"
    assert missed.took_effect is None and "nothing is left to take" in missed.detail
    assert asyncio.run(chaos.left(nodes, ["compute0", "compute1"])) == {}
    assert windows.from_journal(lines) == [freeze, pressure, missed]


@without_systemd
def test_what_is_there_is_healed_when_the_plan_is_stopped(
    nodes: Nodes, victims: dict[str, subprocess.Popen[bytes]]
) -> None:
    async def stopped() -> None:
        took_effect = asyncio.Event()

        def journal(line: Mapping[str, Any]) -> None:
            if line["event"] == "took effect":
                took_effect.set()

        fault = plan.planned("process-freeze", Target(("compute0",)), parameters={"process": "engine-of-chaos"})
        task = asyncio.create_task(chaos.run(nodes, [fault], journal))
        await asyncio.wait_for(took_effect.wait(), 30)
        assert _state(victims["compute0"]) == "T"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(stopped())
    assert _state(victims["compute0"]) == "S"
    assert asyncio.run(chaos.left(nodes, ["compute0"])) == {}


@without_systemd
def test_windows_of_a_dead_controller_are_completed_from_what_the_hosts_remember(
    nodes: Nodes, victims: dict[str, subprocess.Popen[bytes]]
) -> None:
    """The controller's part alone: it tells one host and is gone."""

    async def scene() -> tuple[FaultWindow, FaultWindow]:
        parameters = catalogue.parameters_of(CATALOGUE["process-freeze"], {"process": "engine-of-chaos"})
        order = commands.Order("process-freeze", 1.0, parameters)
        began = clock()
        said = json.loads(await nodes.host("compute0", commands.inject(nodes.hosts["compute0"], order, "another")))
        assert said["armed"]
        window = FaultWindow("process-freeze", "process", ["compute0"], began, took_effect=began)
        (open_one,) = await chaos.read_back(nodes, [replace(window, nodes=["compute1"])])
        for _ in range(200):
            (found,) = await chaos.read_back(nodes, [window])
            if found.is_over:
                break
            await asyncio.sleep(0.05)
        return open_one, found

    open_one, found = asyncio.run(scene())
    assert not open_one.is_over and "not read back from compute1" in open_one.detail
    assert found.healed_by == "timer" and found.healed is not None
    assert 0.9 < found.healed - found.began < 20
    assert _state(victims["compute0"]) == "S"
    nodes.down = {"compute1"}
    assert asyncio.run(chaos.left(nodes, ["compute0", "compute1"])) == {"compute1": ["compute1: no answer"]}


def test_windows_are_kept_and_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    window = FaultWindow("network-loss", "network", ["compute0"], 10.0, 11.0, 20.0, 21.0, "timer", {"percent": 2.0})
    windows.write(tmp_path / "faults.json", [window])
    assert windows.read(tmp_path / "faults.json") == [window]
    assert window.covers(10.0) and window.covers(21.0) and not window.covers(21.5)
    assert replace(window, healed=None).covers(1000.0)
    for text, said in (("{}", "not a list"), ('[{"nam": 1}]', "has no nam"), ('[{"name": "x"}]', "no fault's window")):
        (tmp_path / "faults.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            windows.read(tmp_path / "faults.json")


def test_a_round_of_dead_controllers_names_what_did_not_heal() -> None:
    good = FaultWindow("network-loss", "network", ["compute0"], 10.0, 11.0, None, 21.0, "timer")
    rounds = Round(
        [
            good,
            replace(good, healed_by="controller"),
            replace(good, healed=None),
            replace(good, took_effect=None, detail="no such thing"),
            replace(good, healed=12.0),
        ],
        killed=15.0,
        before={},
        during={},
        after={},
        left={"compute1": ["network-delay: chain X of iptables"]},
    )
    assert len(rounds.misses) == 5 and replace(rounds, windows=[good], left={}).misses == []


def test_what_a_network_fault_should_have_made_and_did_not_is_named() -> None:
    usual = {
        "round_trip_milliseconds": 0.2,
        "spread_milliseconds": 0.1,
        "lost_percent": 0.0,
        "megabits_per_second": 2000.0,
    }
    cut = {"round_trip_milliseconds": None, "spread_milliseconds": None, "lost_percent": 100.0}
    felt: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "network-delay": ({"delay_milliseconds": 40.0}, {**usual, "round_trip_milliseconds": 41.0}),
        "network-jitter": ({"delay_milliseconds": 30.0}, {**usual, "spread_milliseconds": 20.0}),
        "network-loss": ({"percent": 10.0}, {**usual, "lost_percent": 12.0}),
        "network-rate": ({"megabits_per_second": 20.0}, {**usual, "megabits_per_second": 19.1}),
        "network-partition": ({}, {**cut, "megabits_per_second": None}),
    }
    for name, (parameters, during) in felt.items():
        case = Case(name, "compute0", parameters, measured=True)

        def done(seen: dict[str, Any], after: dict[str, Any] = usual) -> Round:
            return Round([], 0.0, {"compute0": usual}, {"compute0": seen}, {"compute0": after}, {})

        assert healing_matrix.unfelt([case], done(during)) == []
        assert [line.partition(":")[0] for line in healing_matrix.unfelt([case], done(usual))] == [
            f"{name} on compute0"
        ]
        (still,) = healing_matrix.unfelt([case], done(during, {**usual, "lost_percent": 5.0}))
        assert "still felt after it was healed" in still


def test_the_rounds_have_every_fault_that_a_host_undoes_itself_but_those_of_real_cards() -> None:
    rounds = healing_matrix.rounds(["compute0", "compute1"])
    done = {case.name for cases in rounds for case in cases}
    own = {kind.name for kind in CATALOGUE.values() if kind.means == "host" and not kind.by_cluster}
    assert own - done == {"gpu-contention", "gpu-memory-pressure", "host-crash"}
    assert all(healing_matrix.checked(cases) for cases in rounds)
