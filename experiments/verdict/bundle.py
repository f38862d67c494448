"""A bundle judged again from its files alone, and what the servers said, read from its tables. Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.bundle import layout, writing
from experiments.errors import ExperimentError
from experiments.load import records
from experiments.load.health import ClientHealth
from experiments.schedule import windows
from experiments.telemetry import gateway_log
from experiments.verdict import server
from experiments.verdict.limits import Limits
from experiments.verdict.server import ServerSeen
from experiments.verdict.verdict import Verdict, judge
from experiments.verdict.watch import Watched


def server_seen(directory: Path) -> ServerSeen:
    """From metrics, logs and the gateway's spans of a bundle; what was not collected is not there.

    ExperimentError for a damaged table.
    """
    wanted = [
        *(name for name in _NAMES),
        *(name.replace("vllm_", "vllm:", 1) for name in _NAMES),
        *(f"ray_{name}" for name in _NAMES),
    ]
    columns = ["at", "node", "name", "labels", "value"]
    rows = _rows(directory / layout.METRICS, columns, [("name", "in", wanted)])
    logs = _rows(directory / layout.LOGS, ["at", "node", "message"], None)
    spans = _rows(directory / layout.SPANS, ["trace", "name", "began", "attributes"], [("name", "=", gateway_log.NAME)])
    return server.from_rows(rows, logs, spans)


_NAMES = (
    *(server.RUNNING, server.WAITING, *server.KV_USAGE, server.PREFIX_QUERIES, server.PREFIX_HITS),
    *(server.STARTED, server.HOST_TIME, *server.RETRIES, *server.ENGINE_COUNTERS),
)


def judge_bundle(
    directory: Path, *, limits: Limits | None = None, concurrent: Mapping[str, int] | None = None
) -> Verdict:
    """The verdict on a bundle's files. ExperimentError where its requests are missing, or a file is damaged."""
    client: Any = writing.read_json(directory, layout.CLIENT) or {}
    try:
        faults = windows.read(directory / layout.FAULTS) if (directory / layout.FAULTS).exists() else []
    except ValueError as error:
        raise ExperimentError(f"{error}; without its faults a run cannot be judged") from None
    return judge(
        records.read(directory / layout.REQUESTS),
        _of(ClientHealth, client.get("health", client)),
        server_seen(directory),
        faults,
        watched=_of(Watched, client.get("watched", {})),
        limits=limits,
        concurrent=concurrent,
    )


def _of(kind: Any, values: Mapping[str, Any]) -> Any:
    """A frozen record from the JSON that was made of it; keys of later versions are left out."""
    known = {field.name for field in fields(kind)}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


def _rows(path: Path, columns: list[str], filters: Any) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns, filters=filters).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ExperimentError(f"{path}: {' '.join(str(error).split())[:200]}; collect the telemetry again") from None
    return rows
