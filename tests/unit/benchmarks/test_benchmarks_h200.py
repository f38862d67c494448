"""The H200 benchmark's parts that need no GPU: shapes, tasks, scheduling, and the comparison on synthesised results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.h200 import compare, engine, measure, micro, shapes
from hardware.planner import configuration, fitting, memory, points
from hardware.planner.calibration import Calibration
from hardware.planner.collectives import Curve, Operation
from hardware.planner.rates import Rates

TRUE = Rates(4.1e12, 2.6e12, 3.2e12, 7.0e14, 4e14, 1.9e-6, 6e-6, 0.4e-3, 1.1e-3, 9e-6, 2e-3)
PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_every_shape_is_one_that_the_planner_reads(name: str, tmp_path: Path) -> None:
    directory = shapes.write(name, tmp_path)
    values = json.loads((directory / "config.json").read_text())
    assert configuration.read(values, name).name == name
    # The engine refuses requests beyond it.
    assert values["max_position_embeddings"] >= measure.LENGTH


def test_tasks_have_names_of_their_own_and_fit_their_gpus() -> None:
    for gpus in (1, 2, 4):
        wanted = measure.tasks(gpus)
        assert len({task.name for task in wanted}) == len(wanted)
        assert all(task.gpus <= gpus for task in wanted)
    assert measure.tasks(4)[1].argument["shape"] == shapes.CALIBRATION[0]


def test_sockets_are_sockets() -> None:
    over = [task for task in measure.tasks(4) if task.argument["path"] == "sockets"]
    assert over
    assert all(task.environment["NCCL_P2P_DISABLE"] == "1" for task in over)
    engines = [task for task in over if task.module.endswith("engine")]
    assert all(task.argument["extra"]["disable_custom_all_reduce"] for task in engines)


def test_pairs_are_taken_side_by_side() -> None:
    slots = measure.Slots(4)
    assert slots.take(1) == [0]
    assert slots.take(2) == [2, 3]
    assert slots.take(2) is None
    assert slots.take(4) is None
    assert slots.take(1) == [1]


def test_a_task_that_fails_is_recorded_and_the_next_one_runs(tmp_path: Path) -> None:
    """Without vLLM every engine fails at once: two records, nothing marked as cut short, exit 1."""
    results = tmp_path / "results.jsonl"
    words = ["--results", str(results), "--folder", str(tmp_path / "work"), "--seconds", "150", "--only", "1.5b"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.h200.measure", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    run = points.read(results.read_text().splitlines(keepends=True), "results")
    assert [entry["step"] for entry in run.failures] == ["qwen2.5-1.5b TP 1"]
    assert run.machines[0]["versions"]["vllm"] is None
    assert (tmp_path / "work" / "done.txt").read_text() == "qwen2.5-1.5b TP 1\n"


def test_too_little_time_begins_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    words = ["--results", str(results), "--folder", str(tmp_path / "work"), "--seconds", "5", "--only", "1.5b"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.h200.measure", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "not begun: qwen2.5-1.5b TP 1" in done.stdout


@pytest.mark.parametrize("words", [["--gpus", "3"], ["--only", "none such"], []])
def test_bad_usage(words: list[str], tmp_path: Path) -> None:
    given = ["--results", str(tmp_path / "r")] if words else []
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.h200.measure", *given, *words], cwd=PROJECT, capture_output=True, timeout=60
    )
    assert done.returncode == 2


def results(tmp_path: Path, true: Rates, weights: float = 1.0) -> Path:
    """Results as they would be with known rates: a few shapes and placements, memory by the planner times `weights`."""
    path = tmp_path / "results.jsonl"
    lines: list[dict[str, Any]] = [
        measure.machine(4),
        {"kind": "microbenchmark", "name": "memory copy", "bytes_per_second": 4.3e12},
        {"kind": "microbenchmark", "name": "matrices", "dtype": "bfloat16", "flops_per_second": 7.9e14},
        {"kind": "microbenchmark", "name": "experts", "tokens": 16, "bytes_per_second": 2.4e12},
    ]
    curves = []
    operations: tuple[Operation, ...] = ("all_reduce", "all_gather", "send")
    for operation in operations:
        for over, latency, rate in (("peer", 6e-6, 3e11), ("sockets", 8e-5, 3e9)):
            curve = Curve(operation, 2, over, micro.SIZES, tuple(latency + size / rate for size in micro.SIZES))
            curves.append(curve)
            lines.append({"kind": "microbenchmark", "name": "collective", "graphed": True, "curve": vars(curve)})
    wanted = ("llama-3.1-8b TP 1", "llama-3.1-8b, 4 layers TP 1", "qwen2.5-14b TP 2", "qwen2.5-14b TP 2 sockets")
    for task in [task for task in measure.tasks(4) if task.name in wanted]:
        about = {
            "model": {"name": task.argument["shape"], "config": task.argument["config"]},
            "engine": task.argument["engine"],
            "path": task.argument["path"],
        }
        for phase, each in (("decode", engine.DECODE), ("prefill", engine.PREFILL)):
            for sequences, tokens in each:
                record = {"kind": "point", "phase": phase, **about, "sequences": sequences, "context_tokens": tokens}
                record |= {"seconds": 1.0, "chunks": -(-sequences * tokens // 8192) if phase == "prefill" else 1}
                (point,) = points.read([json.dumps(record) + "\n"], "made").points
                lines.append(
                    {**record, "seconds": fitting.predict_point(point, true, compare.PATHS, curves, host_beside=True)}
                )
        sized = {"kind": "memory", **about, "memory_bytes": 150e9, "activation_bytes": 1e9, "other_bytes": 6e8}
        sized |= {"graph_bytes": 3e8, "kv_bytes": 1e11, "weights_bytes": 1.0, "kv_tokens": 1}
        (entry,) = points.read([json.dumps(sized) + "\n"], "made").memory
        known = Calibration("", "", memory_bytes=150e9, context_bytes=6e8, graph_bytes=3e8, communicator_bytes=0.0)
        rank = memory.rank_memory(entry.model, entry.sharding, 0, compare.DEVICE, entry.options, known)
        sized |= {"weights_bytes": rank.weights_bytes * weights, "kv_tokens": rank.kv_tokens}
        lines.append(sized)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_comparison_passes_when_the_model_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(results(tmp_path, TRUE))]) == 0
    said = capsys.readouterr().out
    assert "| qwen2.5-14b TP 2 x PP 1 over sockets, decode | 9 |" in said
    assert "## Every point" in said


def test_the_comparison_fails_when_memory_is_off(tmp_path: Path) -> None:
    assert compare.main([str(results(tmp_path, TRUE, weights=1.2))]) == 1


def test_the_comparison_fails_when_the_other_shapes_are_slower(tmp_path: Path) -> None:
    path = results(tmp_path, TRUE)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "point" and line["model"]["name"] == "qwen2.5-14b":
            line["seconds"] *= 1.5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert compare.main([str(path)]) == 1


def test_results_that_say_too_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert compare.main([str(tmp_path / "empty.jsonl")]) == 2
    assert "no points of" in capsys.readouterr().err
    assert compare.main([str(tmp_path / "missing.jsonl")]) == 2


def test_rows_say_how_far_off_they_are() -> None:
    assert compare.Row("g", "w", 2.0, 3.0).error == pytest.approx(0.5)
    assert replace(compare.Row("g", "w", 2.0, 3.0), predicted=1.0).error == pytest.approx(-0.5)
