"""Measured points of an engine, as the benchmarks and experiments write them: JSON lines, one record a line. Pure.

A record has a `kind`: `point` (a step's time), `memory` (what an engine's own profile said), `microbenchmark` (rates
and curves), `machine` (where), `failure` (what did not work). Unknown kinds are left alone: a file may say more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hardware.planner import configuration
from hardware.planner.architecture import Model
from hardware.planner.errors import PlanError
from hardware.planner.options import Options
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step


@dataclass(frozen=True)
class Point:
    """A step that was timed. `path` names what joined the ranks: peer, sockets or a link."""

    shape: str
    model: Model
    sharding: Sharding
    options: Options
    step: Step
    path: str
    seconds: float

    @property
    def name(self) -> str:
        """What was measured, in a few words."""
        what = "prefill of" if self.step.prefill else "decode,"
        over = f" over {self.path}" if self.sharding.ranks > 1 else ""
        return (
            f"{self.shape} {self.sharding}{over}: {what} {self.step.sequences} x {self.step.context_tokens:.0f} tokens"
        )


@dataclass(frozen=True)
class MemoryPoint:
    """What an engine's profile said of one rank: bytes, and tokens of cache over the whole engine."""

    shape: str
    model: Model
    sharding: Sharding
    options: Options
    path: str
    memory_bytes: float
    weights_bytes: float
    activation_bytes: float
    other_bytes: float
    graph_bytes: float
    kv_bytes: float
    kv_tokens: int


@dataclass(frozen=True)
class Run:
    """A file of records, taken apart."""

    points: tuple[Point, ...]
    memory: tuple[MemoryPoint, ...]
    microbenchmarks: tuple[Mapping[str, Any], ...]
    machines: tuple[Mapping[str, Any], ...]
    failures: tuple[Mapping[str, Any], ...]


def read(lines: Iterable[str], where: str) -> Run:
    """Take a file of JSON lines apart; PlanError names file and line of what cannot be read.

    A last line without its end is left out: that is how a run looks that was stopped while it wrote.
    """
    sorted_records: dict[str, list[Mapping[str, Any]]] = {}
    every = [line for line in lines if line.strip()]
    for number, line in enumerate(every, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(every) and not line.endswith("\n"):
                continue
            raise PlanError(f"{where}, line {number}: not JSON; a run is one JSON object a line") from None
        if not isinstance(record, Mapping) or not isinstance(record.get("kind"), str):
            raise PlanError(f"{where}, line {number}: no `kind`; a run is one JSON object with a kind a line")
        sorted_records.setdefault(record["kind"], []).append({**record, "_where": f"{where}, line {number}"})
    return Run(
        points=tuple(_point(record) for record in sorted_records.get("point", ())),
        memory=tuple(_memory(record) for record in sorted_records.get("memory", ())),
        microbenchmarks=tuple(sorted_records.get("microbenchmark", ())),
        machines=tuple(sorted_records.get("machine", ())),
        failures=tuple(sorted_records.get("failure", ())),
    )


def _engine(record: Mapping[str, Any]) -> tuple[str, Model, Sharding, Options, str]:
    where = str(record["_where"])
    try:
        shape, engine = record["model"], record["engine"]
        model = configuration.read(shape["config"], str(shape["name"]), where)
        sharding = Sharding(
            tensor=int(engine.get("tensor_parallel_size", 1)),
            pipeline=int(engine.get("pipeline_parallel_size", 1)),
            data=int(engine.get("data_parallel_size", 1)),
            expert_parallel=bool(engine.get("enable_expert_parallel", False)),
        )
        known = {
            name: engine[name]
            for name in (
                "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
                "kv_cache_memory_bytes", "enforce_eager", "dtype",
            )
            if engine.get(name) is not None
        }  # fmt: skip
        options = Options(**known)
        if options.dtype is not None:
            model = replace(model, dtype=options.dtype)
        return str(shape["name"]), model, sharding, options, str(record.get("path", "peer"))
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise PlanError(f"{where}: {error}; a {record['kind']} needs model, engine and path") from None
    except ValueError as error:
        said = str(error)
        raise PlanError(said if said.startswith(where) else f"{where}: {said}") from None


def _point(record: Mapping[str, Any]) -> Point:
    where = str(record["_where"])
    shape, model, sharding, options, path = _engine(record)
    try:
        phase = record["phase"]
        seconds = float(record["seconds"])
        step = Step(
            sequences=int(record["sequences"]),
            context_tokens=float(record["context_tokens"]),
            prefill=phase == "prefill",
            chunks=int(record.get("chunks", 1)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PlanError(f"{where}: {error}; a point needs phase, sequences, context_tokens and seconds") from None
    if phase not in ("prefill", "decode"):
        raise PlanError(f"{where}: phase {phase!r} is not known; it is prefill or decode")
    if not (0 < seconds < math.inf and step.sequences >= 1 and 0 < step.context_tokens < math.inf):
        raise PlanError(f"{where}: seconds, sequences and context_tokens have to be above zero")
    return Point(shape, model, sharding, options, step, path, seconds)


def _memory(record: Mapping[str, Any]) -> MemoryPoint:
    shape, model, sharding, options, path = _engine(record)
    names = (
        "memory_bytes",
        "weights_bytes",
        "activation_bytes",
        "other_bytes",
        "graph_bytes",
        "kv_bytes",
    )
    try:
        values = {name: float(record[name]) for name in names}
        return MemoryPoint(shape, model, sharding, options, path, kv_tokens=int(record["kv_tokens"]), **values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PlanError(f"{record['_where']}: {error}; a memory record needs {', '.join(names)}, kv_tokens") from None
