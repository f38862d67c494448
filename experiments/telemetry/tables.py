"""The bundle's Parquet files of telemetry: their columns, and writing and reading them. Times are unix seconds."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError

FLOAT, TEXT, INTEGER, TRUTH = "float64", "string", "int64", "bool_"
BATCH_ROWS = 50_000

# Path in the bundle -> column -> type.
METRICS = "metrics/metrics.parquet"
LOGS = "logs/logs.parquet"
SPANS = "traces/spans.parquet"
FLOWS = "flows/flows.parquet"
LEDGER = "results/ledger.parquet"
COLUMNS: dict[str, dict[str, str]] = {
    METRICS: {"at": FLOAT, "node": TEXT, "name": TEXT, "labels": TEXT, "value": FLOAT},
    LOGS: {"at": FLOAT, "node": TEXT, "unit": TEXT, "replica": TEXT, "message": TEXT},
    SPANS: {
        "trace": TEXT,
        "span": TEXT,
        "parent": TEXT,
        "name": TEXT,
        "node": TEXT,
        "began": FLOAT,
        "ended": FLOAT,
        "attributes": TEXT,
    },
    FLOWS: {
        "at": FLOAT,
        "node": TEXT,
        "peer": TEXT,
        "protocol": TEXT,
        "rtt_ms": FLOAT,
        "retransmits": INTEGER,
        "delivery_bytes_per_second": FLOAT,
        "bytes": INTEGER,
    },
    LEDGER: {
        "number": INTEGER,
        "step": TEXT,
        "warm_up": TRUTH,
        "node": TEXT,
        "replica": TEXT,
        "trace": TEXT,
        "whole_ms": FLOAT,
        "client_ms": FLOAT,
        "network_ms": FLOAT,
        "gateway_ms": FLOAT,
        "engine_ms": FLOAT,
        "queue_ms": FLOAT,
        "prefill_ms": FLOAT,
        "decode_ms": FLOAT,
        "unexplained_ms": FLOAT,
        "known": TEXT,
    },
}


def write(bundle: Path, table: str, rows: Iterable[Sequence[Any]]) -> int:
    """Write a table into a bundle, whole or not at all; how many rows. Columns stand in the order of COLUMNS.

    ExperimentError where the disk does not take it, or a row is none of the table's.
    """
    import pyarrow as pa  # it takes a quarter of a second to load: only who writes waits for it
    import pyarrow.parquet as pq

    columns, path = COLUMNS[table], bundle / table
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])
    staged, count, left = path.with_name(f".{path.name}.partial"), 0, iter(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(staged, schema, compression="zstd") as writer:
            while part := list(itertools.islice(left, BATCH_ROWS)):
                values = list(zip(*part, strict=True))
                if len(values) != len(columns):
                    raise ExperimentError(f"{path}: a row has {len(values)} values, and the table {len(columns)}")
                arrays = [pa.array(one, field.type) for one, field in zip(values, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                count += len(part)
        staged.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise ExperimentError(f"{path}: {error.strerror or error}; make room, or collect elsewhere with --to") from None
    except (pa.ArrowException, ValueError) as error:
        staged.unlink(missing_ok=True)
        raise ExperimentError(f"{path}: rows that are none of this table: {error}") from None
    return count


def read(bundle: Path, table: str) -> list[dict[str, Any]]:
    """Rows of a table, none where it was not collected; ExperimentError for a file that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = bundle / table
    if not path.exists():
        return []
    try:
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ExperimentError(f"{path}: {error}; it was cut off or changed") from None
    return found
