"""An experiment's faults as a plan, and what is said of those that cannot be. Nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.faults.catalogue import FaultPlanError
from experiments.configuration import resolving, suites
from experiments.configuration.resolving import Resolved
from experiments.runs import faulting
from experiments.schedule.targets import Target
from operate import clusters


def told(tmp_path: Path, **values: object) -> Resolved:
    path = tmp_path / "mine.yaml"
    path.write_text("".join(f"chaos_{name}: {value}\n" for name, value in values.items()))
    return resolving.resolve(suites.load(str(path)), 0, {}, "smollm2-135m-instruct")


def test_parameters_become_a_plan(tmp_path: Path) -> None:
    resolved = told(
        tmp_path,
        experiment_scenario="[process-kill, cpu-pressure]",
        anomaly_injection_start=4,
        anomaly_injection_duration=9,
        anomaly_injection_target_container="engine",
        anomaly_injection_parameters="{cpu-pressure: {load_percent: 50}}",
    )
    kill, press = faulting.plan(resolved)
    assert kill.parameters["process"] == "VLLM::EngineCore" and press.parameters["load_percent"] == 50
    assert (press.begin_seconds, press.hold_seconds, press.target) == (4, 9, Target(count=1))


def test_targets_are_any_all_or_named() -> None:
    assert faulting.target(["any"]) == {"count": 1}
    assert faulting.target(["all"]) == {}
    assert faulting.target(["worker1", "worker2"]) == ["worker1", "worker2"]


def test_parameters_of_a_fault_that_is_not_there_are_refused(tmp_path: Path) -> None:
    resolved = told(
        tmp_path, experiment_scenario="cpu-pressure", anomaly_injection_parameters="{network-loss: {percent: 1}}"
    )
    with pytest.raises(FaultPlanError, match="network-loss, which is not in"):
        faulting.plan(resolved)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"experiment_scenario": "cpu-presure"}, "did you mean 'cpu-pressure'"),
        ({"experiment_scenario": "network-delay"}, "those that the controller runs on"),
        (
            {"experiment_scenario": "cpu-pressure", "anomaly_injection_target_nodes": "worker7"},
            "did you mean 'worker",
        ),
        (
            {"experiment_scenario": "network-delay", "anomaly_injection_claims": "rdma"},
            "proves nothing of 'rdma'",
        ),
        ({"experiment_scenario": "cpu-pressure", "anomaly_injection_duration": 80}, "and the load 60 s"),
        ({"experiment_scenario": "process-kill"}, "process is missing"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(
    home: Path, tmp_path: Path, values: dict[str, object], said: str
) -> None:
    (found,) = faulting.problems(told(tmp_path, **values), clusters.read("laptop"), 60)
    assert said in found and "mine.yaml:" in found
