"""Measured runs: reading them, fitting a calibration to them, explaining them, drawing them.

The figures of SmolLM2-135M-Instruct on two processor cores (float32, vLLM on a CPU, eager) were measured on 2026-11-21:
9.5 tokens a second alone, 37, 60 and 90 at 4, 8 and 16 users; the machine's rates by facts/programs/measure.py, on the
same machine when idle. Everything else is synthesised from known rates, so that what the fit should find is known.
"""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardware.catalog.h200 import H200
from hardware.laptop import CLUSTER as LAPTOP
from hardware.model import Node
from hardware.planner import configuration, explain, fitting, microbenchmarks, plot, points, proofs
from hardware.planner.calibration import Calibration
from hardware.planner.collectives import Path as Link
from hardware.planner.errors import PlanError
from hardware.planner.options import Options
from hardware.planner.placement import hardware_of
from hardware.planner.points import Point
from hardware.planner.rates import Rates, device_of, rates
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step

CONFIGS = Path(__file__).parents[3] / "inventories" / "models" / "configs"
TRUE = Rates(4.1e12, 2.6e12, 3.2e12, 7.0e14, 4e14, 1.9e-6, 6e-6, 0.4e-3, 1.1e-3, 9e-6, 2e-3)
PRIOR = Rates(4.3e12, 3.0e12, 3.4e12, 7.9e14, 4.7e14, 2.5e-6, 8e-6, 0.5e-3, 1.5e-3, 10e-6, 4e-3)
SERVER = device_of(Node("n", "compute", "b", "e", accelerators=(H200,)), H200)


def config(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return value


def synthesised(name: str, layers: int, true: Rates, noise: float, seed: int) -> list[Point]:
    """Points of a shape as they would be measured with these rates."""
    draw = random.Random(seed)  # noqa: S311 (test data)
    model = configuration.read({**config(name), "num_hidden_layers": layers}, f"{name}, {layers} layers")
    steps = [Step(batch, context) for batch in (1, 8, 64, 256) for context in (256, 4096)]
    steps += [Step(1, length, prefill=True) for length in (64, 1024, 8192)]
    made = []
    for step in steps:
        point = Point(model.name, model, Sharding(), Options(), step, "peer", 1.0)
        seconds = fitting.predict_point(point, true, {}, (), host_beside=True) * draw.uniform(1 - noise, 1 + noise)
        made.append(replace(point, seconds=seconds))
    return made


def test_a_fit_finds_the_rates_that_made_the_points() -> None:
    mine = synthesised("llama-3.1-8b", 32, TRUE, 0.0, 0) + synthesised("llama-3.1-8b", 4, TRUE, 0.0, 0)
    found = fitting.fit_rates(mine, PRIOR, ("memory", "flops"))
    assert found.median_error < 0.01
    for name in ("memory_bytes_per_second", "flops_per_second", "host_seconds"):
        assert getattr(found.rates, name) == pytest.approx(getattr(TRUE, name), rel=0.12), name


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_to_one_shape_predicts_another(seed: int) -> None:
    mine = synthesised("llama-3.1-8b", 32, TRUE, 0.03, seed) + synthesised("llama-3.1-8b", 4, TRUE, 0.03, seed)
    found = fitting.fit_rates(mine, PRIOR, ("memory", "flops"))
    errors = sorted(
        abs(fitting.predict_point(point, found.rates, {}, (), host_beside=True) / point.seconds - 1)
        for point in synthesised("qwen2.5-14b", 48, TRUE, 0.0, seed)
    )
    assert errors[len(errors) // 2] < 0.05


def test_the_linear_form_is_the_timing() -> None:
    """What the fit takes for a step's time is what the prediction says, to the last part."""
    for point in synthesised("qwen3-30b-a3b", 6, TRUE, 0.0, 1):
        row = [0.0] * len(fitting._NAMES)
        constant = sum(fitting._linear(stage, TRUE, {}, (), row, True) for stage in fitting.stages(point))
        values = fitting._vector(TRUE)
        assert constant + sum(a * b for a, b in zip(row, values, strict=True)) == pytest.approx(point.seconds, rel=1e-9)


MACHINE = [
    {"name": "memory size", "bytes": 25276502016},
    {"name": "memory copy", "bytes_per_second": 31384802101.9},
    {"name": "memory read", "bytes_per_second": 32771263325.4},
    {"name": "matrices", "dtype": "float32", "shape": [1024] * 3, "flops_per_second": 195454183328.9},
    {"name": "matrices of few rows", "dtype": "float32", "shape": [16, 2048, 2048], "flops_per_second": 64168715615.8},
]
TOKENS_PER_SECOND = {1: 9.5, 4: 37.0, 8: 60.0, 16: 90.0}


def test_smollm_on_a_cpu_is_predicted_from_one_user_s_speed() -> None:
    """Calibrated on the speed of one user alone, the speeds of 4, 8 and 16 are within 15 percent."""
    base = microbenchmarks.calibration(MACHINE, "processor", "vllm-cpu")
    model = replace(configuration.read(config("smollm2-135m-instruct"), "smollm2"), dtype="float32")
    measured = {
        users: Point(
            "smollm2",
            model,
            Sharding(),
            Options(dtype="float32", enforce_eager=True),
            Step(users, 100),
            "",
            users / speed,
        )
        for users, speed in TOKENS_PER_SECOND.items()
    }
    prior = rates(hardware_of(LAPTOP).device, base, "float32", "likely")
    held = microbenchmarks.measured_names(base, "float32")
    found = fitting.fit_rates([measured[1]], prior, held, host_beside=False)
    for users, point in measured.items():
        predicted = fitting.predict_point(point, found.rates, {}, (), host_beside=False)
        assert predicted == pytest.approx(point.seconds, rel=0.15), users


def test_microbenchmarks_without_their_fields() -> None:
    with pytest.raises(PlanError, match="line 3"):
        microbenchmarks.calibration([{"name": "memory copy", "_where": "run, line 3"}], "a", "b")


def record(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "point",
        "phase": "decode",
        "model": {"name": "m", "config": config("llama-3.1-8b")},
        "engine": {"tensor_parallel_size": 1},
        "path": "peer",
        "sequences": 8,
        "context_tokens": 300,
        "seconds": 0.01,
        **changes,
    }


def test_a_run_is_read_and_a_torn_last_line_left_out() -> None:
    lines = [json.dumps(record()) + "\n", json.dumps({"kind": "failure", "step": "x"}) + "\n", '{"kind": "poi']
    run = points.read(lines, "run")
    assert len(run.points) == 1
    assert len(run.failures) == 1
    assert run.points[0].step == Step(8, 300)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        json.dumps(record(seconds=0)),
        json.dumps(record(seconds="fast")),
        json.dumps(record(phase="sleep")),
        json.dumps(record(sequences=None)),
        json.dumps(record(model={"name": "m"})),
        json.dumps(record(model={"name": "m", "config": {}})),
        json.dumps({"kind": "memory", "model": {"name": "m", "config": config("llama-3.1-8b")}, "engine": {}}),
    ],
)
def test_a_record_that_cannot_be_read_names_its_line(line: str) -> None:
    with pytest.raises(PlanError, match="run, line 1"):
        points.read([line + "\n", json.dumps(record()) + "\n"], "run")


def test_a_point_is_explained_and_its_parts_are_its_time() -> None:
    (decode, *_, prefill) = synthesised("llama-3.1-8b", 32, TRUE, 0.0, 2)
    found = explain.explain(decode, SERVER, TRUE, {})
    assert found.limit == "memory bandwidth"
    assert found.timing.seconds == pytest.approx(decode.seconds)
    assert found.unexplained_seconds == pytest.approx(0.0, abs=1e-9)
    assert found.distance is not None and found.distance > 1
    assert explain.explain(prefill, SERVER, TRUE, {}).limit == "compute"


def test_counter_tests_move_the_limit_that_they_are_about() -> None:
    """Half the core clock doubles what is bound by compute and leaves what is bound by memory."""
    mine = synthesised("llama-3.1-8b", 32, TRUE, 0.0, 2)
    decode, prefill = explain.explain(mine[0], SERVER, TRUE, {}), explain.explain(mine[-1], SERVER, TRUE, {})
    clock = {test.name: test.change for test in decode.tests}["half the core clock"]
    assert abs(clock) < 0.25
    assert {test.name: test.change for test in prefill.tests}["half the core clock"] > 0.7


def test_a_run_proves_its_explanation_or_does_not() -> None:
    mine = synthesised("llama-3.1-8b", 32, TRUE, 0.0, 6)
    proved = proofs.prove([explain.explain(point, SERVER, TRUE, {}) for point in mine])
    assert len(proved) >= 8
    assert all(proof.held for proof in proved)
    # The same run on a machine whose memory is a third as fast: what was said of the batch is then wrong somewhere.
    wrong = replace(TRUE, memory_bytes_per_second=TRUE.memory_bytes_per_second / 3)
    assert not all(proof.held for proof in proofs.prove([explain.explain(p, SERVER, wrong, {}) for p in mine]))


def test_two_paths_are_a_pair() -> None:
    lans = {name: Link(name, "network", 50e-6, rate) for name, rate in (("a", 3e9), ("b", 3e8))}
    base = synthesised("llama-3.1-8b", 32, TRUE, 0.0, 3)[4]
    pair = [replace(base, sharding=Sharding(2), path=name) for name in lans]
    measured = [replace(p, seconds=fitting.predict_point(p, TRUE, lans, (), host_beside=True)) for p in pair]
    (proof,) = proofs.prove([explain.explain(point, SERVER, TRUE, lans) for point in measured])
    assert proof.what == "over b instead"
    assert proof.held and proof.measured_factor > 1.5


def test_a_slower_link_is_felt_by_who_talks_over_it() -> None:
    lan = Link("lan", "network", 50e-6, 300e6)
    point = replace(synthesised("llama-3.1-8b", 32, TRUE, 0.0, 3)[4], sharding=Sharding(2), path="lan")
    found = explain.explain(point, SERVER, TRUE, {"lan": lan})
    assert found.limit == "link bandwidth"
    changes = {test.name: test.change for test in found.tests}
    assert changes["half the link"] > 0.5
    with pytest.raises(PlanError, match="path 'lan' was not measured"):
        explain.explain(point, SERVER, TRUE, {})


def test_the_picture_is_xml_with_every_point() -> None:
    mine = synthesised("llama-3.1-8b", 32, TRUE, 0.05, 4)
    drawn = plot.draw([explain.explain(point, SERVER, TRUE, {}) for point in mine], SERVER, TRUE, "a <title>")
    root = ElementTree.fromstring(drawn)  # noqa: S314 (our own picture)
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}circle")) == len(mine)
    assert root.find(f"{name}title") is not None
    with pytest.raises(ValueError, match="nothing"):
        plot.draw([], SERVER, TRUE, "")


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_calibration_with_rates_that_cannot_be(value: float) -> None:
    with pytest.raises(PlanError, match="measure again"):
        Calibration("card", "engine", memory_bytes_per_second=value)
