"""Where everything of a run lies in its bundle, and how a bundle is named. Pure; unix seconds.

The bundle of a run is `fetched/<experiment-id>/` in the operator's working directory, unless another place is given.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from experiments.bundle.errors import BundleError

FORMAT = 1
FETCHED = "fetched"

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
CONFIGURATION = "experiment.yaml"
SOURCES = "experiment.sources.json"
VERSIONS = "versions.json"
INVENTORY = "inventory"
PLAN = "plan.json"
REQUESTS = "results/requests.parquet"
# Requests as they end, a line each: what is left of them where a run dies before the table is written.
REQUESTS_SO_FAR = "results/requests.partial.jsonl"
SUMMARY = "results/summary.json"
VLLM_BENCH = "results/vllm_bench.json"
VERDICT = "results/verdict.json"
LEDGER = "results/ledger.parquet"
FAULTS = "results/faults.json"
RECOVERY = "results/recovery.json"
CAUSES = "results/causes.json"
METRICS = "metrics/metrics.parquet"
LOGS = "logs/logs.parquet"
SPANS = "traces/spans.parquet"
FLOWS = "flows/flows.parquet"
GRAFANA = "grafana-configs"
DIVERSE = "diverse"
CLIENT = "diverse/client.json"
REPORT = "report.html"

_IDENTITY = re.compile(r"^(?P<kind>[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)-(?P<at>\d{8}t\d{6}z)(?:-(?P<again>\d+))?$")


def identity(kind: str, at: float) -> str:
    """Name of an experiment's bundle: its `exp_type_identifier`, and when it began, in UTC to the second."""
    return f"{kind}-{datetime.fromtimestamp(at, UTC):%Y%m%dt%H%M%Sz}"


def kind_of(name: str) -> str | None:
    """The `exp_type_identifier` in a bundle's name; None for a name that no bundle has."""
    found = _IDENTITY.match(name)
    return found["kind"] if found else None


def inside(directory: Path, name: str) -> Path:
    """The path of a file of the bundle; BundleError for a name that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BundleError(f"{name!r} is no name in a bundle; give a path from its directory on, without '..'")
    return directory / path


def is_bundle(directory: Path) -> bool:
    """Whether a directory is a run's, whole or partial."""
    return (directory / JOURNAL).is_file() or (directory / MANIFEST).is_file()


def bundles(fetched: Path) -> list[Path]:
    """Bundles in a directory, the oldest first; none where the directory is missing."""
    try:
        found = [entry for entry in fetched.iterdir() if kind_of(entry.name) and is_bundle(entry)]
    except OSError:
        return []
    return sorted(found, key=_order)


def _order(bundle: Path) -> tuple[str, int, str]:
    found = _IDENTITY.match(bundle.name)
    return (found["at"], int(found["again"] or 1), bundle.name) if found else ("", 0, bundle.name)
