"""Bundles that were not run: deterministic, in the bundle's format, small. Figures are made up, by a seed.

Telemetry is `experiments.causes.simulation`'s; requests follow from a queue of a few lines, so that load steps, faults
and percentiles hang together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.causes import simulated_bundles
from experiments.causes.simulation import Planted, simulate

BEGAN = 1_800_000_000.0
NODES = ("worker1", "worker2", "worker3")
REQUESTS = pa.schema(
    [
        *((name, pa.int64()) for name in ("number",)),
        ("step", pa.string()),
        ("warm_up", pa.bool_()),
        *(
            (name, pa.float64())
            for name in ("target_rate", "due", "sent", "first_byte", "first_token", "last_token", "ended")
        ),
        ("token_times", pa.list_(pa.float64())),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("finish_reason", pa.string()),
        ("status", pa.int64()),
        *((name, pa.string()) for name in ("kind", "detail", "node", "replica")),
        *((name, pa.int64()) for name in ("attempts", "prefix_group", "turn")),
        ("trace", pa.string()),
    ]
)
FAULTS = (
    Planted("cpu", "worker2", 100, 140, 1.0),
    Planted("process-kill", "worker3", 170, 205, 1.0),
)
STEPS = ((2.0, 60), (4.0, 60), (8.0, 60), (16.0, 60))


def requests(
    planted: Sequence[Planted] = (), *, seed: int = 7, began: float = BEGAN, steps: Sequence[tuple[float, int]] = STEPS
) -> list[dict[str, Any]]:
    """Rows of results/requests.parquet: open loop, step after step, nodes in turn; faults slow and cut answers."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    start = 0.0
    for rate, seconds in steps:
        at = start
        while (at := at + float(random.exponential(1 / rate))) < start + seconds:
            rows.append(_request(random, len(rows), at, start, rate, planted, began))
        start += seconds
    return rows


def _request(
    random: np.random.Generator,
    number: int,
    at: float,
    start: float,
    rate: float,
    planted: Sequence[Planted],
    began: float,
) -> dict[str, Any]:
    node = NODES[number % len(NODES)]
    here = [one for one in planted if one.node == node and one.began <= at < one.ended]
    dead = any(one.kind in ("process-kill", "host", "process-freeze", "network-partition") for one in here)
    if dead and at - here[0].began > 2:  # by then the gateway sends them elsewhere
        node, here, dead = NODES[(number + 1) % len(NODES)], [], False
    slow = 1 + sum(0.6 * one.strength for one in here if one.kind in ("cpu", "gpu", "memory"))
    busy = (1 + 0.06 * rate) * slow
    first = 0.09 * busy * float(random.lognormal(0, 0.25)) + (
        0.04 if any(one.kind == "network-delay" for one in here) else 0
    )
    gap = 0.016 * busy
    tokens = int(random.integers(24, 48))
    gaps = gap * random.lognormal(0, 0.15, tokens - 1)
    times = [float(one) for one in began + at + first + np.concatenate([[0.0], np.cumsum(gaps)])]
    row: dict[str, Any] = {
        "number": number,
        "step": f"rate={rate:g}",
        "warm_up": at - start < 5,
        "target_rate": rate,
        "due": began + at - 2e-4,
        "sent": began + at,
        "first_byte": times[0] - 1e-3,
        "first_token": times[0],
        "last_token": times[-1],
        "ended": times[-1] + 1e-3,
        "token_times": times,
        "prompt_tokens": 128,
        "output_tokens": tokens,
        "finish_reason": "length",
        "status": 200,
        "kind": "answered",
        "detail": "",
        "node": node,
        "replica": f"{node}-a1b2c3",
        "attempts": 1,
        "prefix_group": -1,
        "turn": 0,
        "trace": f"{number:032x}",
    }
    if dead:
        cut = max(1, tokens // 3)
        row |= {
            "token_times": times[:cut],
            "last_token": times[cut - 1],
            "ended": times[cut - 1] + 0.2,
            "finish_reason": "",
            "kind": "connection cut",
            "output_tokens": cut,
            "detail": "the connection was cut",
        }
    return row


def labelled(directory: Path, planted: Sequence[Planted], seed: int, **more: Any) -> Path:
    """A bundle of telemetry and labels alone, for scores of causes."""
    return simulated_bundles.write(directory, planted, simulate(planted, seed=seed, **more))


def whole(directory: Path, planted: Sequence[Planted] = FAULTS, *, seed: int = 7, valid: bool = True) -> Path:
    """A bundle with every file that a report reads."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = requests(planted, seed=seed)
    seconds = int(sum(length for _, length in STEPS)) + 5
    _parquet(directory / "results/requests.parquet", pa.Table.from_pylist(rows, schema=REQUESTS))
    simulated_bundles.write(
        directory, planted, simulate(planted, seed=seed, seconds=seconds, began=BEGAN, interval=2.0)
    )
    _parquet(directory / "results/ledger.parquet", pa.Table.from_pylist(list(_ledger(rows, seed))))
    write_json(directory / "results/recovery.json", [_budget(one) for one in planted])
    write_json(directory / "results/verdict.json", _verdict(valid))
    write_json(directory / "results/comparison.json", COMPARISON)
    write_json(directory / "plan.json", PLAN)
    write_json(directory / "versions.json", VERSIONS)
    write_json(directory / "inventory/explain.json", explain_inputs())
    (directory / "experiment.yaml").write_text(CONFIGURATION)
    write_json(
        directory / "experiment.sources.json",
        {
            "model_id": {"file": "layers/base.yaml", "line": 2},
            "llm_benchmark_target_qps_values": {"file": "/home/who/suite.yaml", "line": 7},
        },
    )
    with (directory / "journal.jsonl").open("w") as journal:
        for entry in _journal(planted, seconds):
            journal.write(json.dumps(entry) + "\n")
    manifest(directory, seconds)
    return directory


def manifest(directory: Path, seconds: float) -> None:
    """The manifest, as of now."""
    files = {
        path.relative_to(directory).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    write_json(
        directory / "manifest.json",
        {
            "format": 1,
            "experiment_id": directory.name,
            "cluster": "lab",
            "started": BEGAN - 40,
            "ended": BEGAN + seconds + 30,
            "state": "complete",
            "files": files,
        },
    )


def explain_inputs() -> dict[str, Any]:
    """inventory/explain.json of a small model on a card of the catalogue's kind; the figures are round ones."""
    config = json.loads(
        (Path(__file__).parents[1] / "inventories/models/configs/smollm2-135m-instruct.json").read_text()
    )
    return {
        "format": 1,
        "model": {"name": "smollm2-135m-instruct", "config": config},
        "options": {"dtype": "bfloat16"},
        "device": {
            "name": "a round card",
            "node": "worker1",
            "runtime_kind": "cuda",
            "architecture": "sm_90",
            "memory_bytes": 24e9,
            "memory_bytes_per_second": 1e12,
            "half_flops_per_second": 1e14,
        },
        "one_machine": False,
        "replicas": 3,
        "sharding": {"tensor": 1, "pipeline": 1},
        "path": "peer",
        "paths": {},
        "calibration": None,
    }


def _parquet(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def _ledger(rows: Sequence[dict[str, Any]], seed: int) -> Iterable[dict[str, Any]]:
    random = np.random.default_rng(seed)
    for row in rows:
        if row["kind"] != "answered":
            continue
        whole_ms = 1e3 * (row["ended"] - row["due"])
        decode = 1e3 * (row["last_token"] - row["first_token"])
        rest = whole_ms - decode
        shares = random.dirichlet([1, 2, 2, 2, 6, 20])
        names = ("client", "network", "gateway", "engine", "queue", "prefill")
        parts = {f"{name}_ms": float(share * (rest - 0.3)) for name, share in zip(names, shares, strict=True)}
        yield {
            "number": row["number"],
            "step": row["step"],
            "warm_up": row["warm_up"],
            "node": row["node"],
            "replica": row["replica"],
            "trace": row["trace"],
            "whole_ms": whole_ms,
            **parts,
            "decode_ms": decode,
            "unexplained_ms": 0.3,
            "known": "all",
        }


def _budget(one: Planted) -> dict[str, Any]:
    detect, drain, start, load, prove = (
        (1.2, 2.8, 9.4, 14.1, 3.3) if one.kind == "process-kill" else (0.0, one.ended - one.began, 0.0, 0.0, 0.4)
    )
    spent = {"detect": detect, "drain": drain, "start": start, "load": load, "prove": prove}
    cost = {"requests": 214, "missed": 11, "expected": 1.5, "failed": 4, "truncated_as_whole": []}
    return {
        "fault": simulated_bundles.NAMES.get(one.kind, one.kind),
        "node": one.node,
        "began": BEGAN + one.began,
        **spent,
        "whole": sum(spent.values()) + 0.2,
        "cost": cost,
        "detail": "",
        "adds_up": True,
        "lost_to_the_fault": 9.5,
    }


def _verdict(valid: bool) -> dict[str, Any]:
    good = [
        {"name": "send_lag", "ok": True, "detail": "P99 of the send lag 0.4 ms, at most 5 ms", "remedy": ""},
        {"name": "steady_state", "ok": True, "detail": "latency holds its level in all 4 steps", "remedy": ""},
        {"name": "preemptions", "ok": True, "detail": "no request was preempted", "remedy": ""},
    ]
    bad = {
        "name": "cpu_steal",
        "ok": False,
        "detail": "the client's machine lost 12 % of its time to others, at most 2 %",
        "remedy": "run the client where nothing else runs",
    }
    unknown = {
        "name": "governor",
        "ok": None,
        "detail": "the governor could not be read",
        "remedy": "run as root, or on bare metal",
    }
    checks = [*good, unknown] if valid else [*good, unknown, bad]
    return {
        "verdict": "VALID" if valid else "INVALID",
        "causes": [] if valid else [bad],
        "unknown": [unknown],
        "checks": checks,
    }


def _journal(planted: Sequence[Planted], seconds: float) -> Iterable[dict[str, Any]]:
    yield {"at": BEGAN - 40, "kind": "run", "cluster": "lab"}
    for phase, began, ended in (
        ("deploy", -40, -5),
        ("benchmark", -5, seconds),
        ("chaos", 60, seconds - 20),
        ("collect-telemetry-data", seconds, seconds + 20),
    ):
        yield {"at": BEGAN + began, "kind": "phase", "phase": phase, "state": "began"}
        yield {"at": BEGAN + ended, "kind": "phase", "phase": phase, "state": "ended"}
    for window in simulated_bundles.windows(planted, BEGAN):
        yield {"at": window["began"], "kind": "fault", "event": "began", **window}


CONFIGURATION = """model_id: smollm2-135m-instruct
exp_type_identifier: faults
exp_description: Two faults while the load rises; three engines on the lab.
llm_benchmark_arrivals: poisson
llm_benchmark_target_qps_values: [2, 4, 8, 16]
llm_benchmark_duration: 55
llm_benchmark_warm_up: 5
llm_benchmark_prompt_tokens: 128
llm_benchmark_slo_ttft_ms: 400
llm_benchmark_slo_itl_ms: 60
chaos_experiment_scenario: [cpu-pressure, process-kill]
telemetry_interval_seconds: 2
custom: {}
"""
VERSIONS = {
    "cluster": "0.1.0",
    "commit": "0123abcd",
    "python": "3.11.7",
    "runtime": {"vllm": "0.32.0", "ray": "2.60.0", "torch": "2.11.0"},
    "kernel": {"worker1": "6.18.0", "worker2": "6.18.0"},
}


def _interval(likely: float, reach: float = 0.3) -> dict[str, float]:
    return {"low": likely * (1 - reach), "likely": likely, "high": likely * (1 + reach)}


PLAN = {
    "cluster": "lab",
    "model": "smollm2-135m-instruct",
    "recommended": "3 x (1 rank)",
    "refusal": "",
    "interval_source": "calibrated: measured over predicted was 0.90 to 1.20 in 80 % of 40 comparisons",
    "placements": [
        {
            "name": "3 x (1 rank)",
            "predictions": [
                {
                    "concurrency": number,
                    "ttft_seconds": _interval(0.1 + 0.004 * number),
                    "itl_seconds": _interval(0.017 + 0.0008 * number),
                    "tokens_per_second": _interval(52.0 * number),
                }
                for number in (1, 4, 8, 16)
            ],
        }
    ],
}
COMPARISON = {
    "a": "smoke-20261128t101500z",
    "b": "faults-20261130t101500z",
    "way": "interleaved",
    "runs": 12,
    "left_out": [],
    "caveats": ["prompts are of one length: other lengths may differ otherwise"],
    "differs": True,
    "differences": [
        {
            "figure": "rate=4 ttft_p50",
            "a": 0.110,
            "b": 0.121,
            "change": 0.10,
            "low": 0.06,
            "high": 0.14,
            "noise": 0.012,
            "smallest": 0.031,
            "differs": True,
            "worse": True,
            "source": "blocks",
        },
        {
            "figure": "rate=4 itl_p50",
            "a": 0.0201,
            "b": 0.0199,
            "change": -0.010,
            "low": -0.029,
            "high": 0.009,
            "noise": 0.010,
            "smallest": 0.026,
            "differs": False,
            "worse": None,
            "source": "blocks",
        },
        {
            "figure": "rate=16 tokens_per_second",
            "a": 560.0,
            "b": 601.0,
            "change": 0.073,
            "low": 0.041,
            "high": 0.105,
            "noise": 0.015,
            "smallest": 0.040,
            "differs": True,
            "worse": False,
            "source": "blocks",
        },
        {
            "figure": "rate=16 ttft_p99",
            "a": 0.71,
            "b": 0.78,
            "change": 0.098,
            "low": None,
            "high": None,
            "noise": None,
            "smallest": None,
            "differs": None,
            "worse": None,
            "source": "none",
        },
    ],
}
