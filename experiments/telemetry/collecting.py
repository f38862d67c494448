"""What was seen of a cluster, as the bundle's Parquet files: metrics, flows, logs, spans. Unix seconds of our clock.

The observers' lines lie in the bundle already; logs and spans are asked of the hosts for the time of the run. Every
time is moved by its host's clock. What cannot be had is a note, never a failure: a bundle with holes says where they
are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploys import hosts as kinds
from deploys import roles, runtime_lock
from deploys.environment import proof_record_path
from deploys.gateway.declared import GATEWAY
from deploys.observability.declared import spans_file
from deploys.observability.programs.log_lines import LogLine
from experiments.load.client import clock
from experiments.telemetry import gateway_log, grafana, tables
from experiments.telemetry.hosts import LOADER, RAY_DASHBOARDS, READ_LOGS, first_line, program, words
from experiments.telemetry.observers import CLOCKS, PLACE
from experiments.telemetry.spans import Span, received
from operate.clusters import ClusterInventory, Host
from operate.errors import OperatorError

GRAFANA = "grafana-configs"
HOST_SECONDS = 120.0
# What happened just before a run explains its beginning; engines hand their spans on every five seconds.
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 10.0


@dataclass
class Collected:
    """Rows by file, and what could not be had."""

    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def entries(self) -> list[dict[str, Any]]:
        """For the journal."""
        at = clock()
        notes = [{"at": at, "kind": "note", "about": "telemetry", "text": note} for note in self.notes]
        return [{"at": at, "kind": "collected", "rows": dict(self.rows)}, *notes]


async def collect(cluster: ClusterInventory, bundle: Path, began: float, ended: float) -> Collected:
    """Write the four files of a run that lasted from `began` to `ended`. ExperimentError where the disk is full."""
    found = Collected()
    offsets = clock_offsets(bundle)
    flows: list[tuple[Any, ...]] = []
    seen = sorted((bundle / PLACE).glob("*.jsonl"))
    if not seen:
        found.notes.append("no observer ran: no metrics and no flows")
    metrics = metric_rows(seen, offsets, flows, found.notes)
    found.rows[tables.METRICS] = await asyncio.to_thread(tables.write, bundle, tables.METRICS, metrics)
    found.rows[tables.FLOWS] = await asyncio.to_thread(tables.write, bundle, tables.FLOWS, flows)
    window = began - BEFORE_SECONDS, ended + AFTER_SECONDS
    logs = await asyncio.gather(*(_logs(host, window, offsets, found.notes) for host in cluster.hosts))
    by_node = dict(zip((host.name for host in cluster.hosts), logs, strict=True))
    rows = sorted((line.at, node, *line[1:]) for node, lines in by_node.items() for line in lines)
    found.rows[tables.LOGS] = await asyncio.to_thread(tables.write, bundle, tables.LOGS, rows)
    control = cluster.control
    spans = gateway_spans(by_node[control.name], control.name)
    spans += await _engine_spans(control, window, offsets, found.notes)
    found.rows[tables.SPANS] = await asyncio.to_thread(tables.write, bundle, tables.SPANS, map(span_row, spans))
    await _dashboards(control, bundle, found.notes)
    return found


def clock_offsets(bundle: Path) -> dict[str, float]:
    """Seconds that each host's clock is ahead of ours, as the observers found them; none where none did."""
    try:
        said = json.loads((bundle / PLACE / CLOCKS).read_text())
        return {str(one["node"]): float(one["offset_seconds"]) for one in said}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def metric_rows(
    files: Iterable[Path], offsets: Mapping[str, float], flows: list[tuple[Any, ...]], notes: list[str]
) -> Iterator[tuple[Any, ...]]:
    """Rows of metrics from the observers' lines; rows of flows are added to `flows`, and their notes to `notes`.

    The file's name is the node whose clock the times are of. A line that was cut off, as the last of a run that died
    may be, is left out and counted.
    """
    for file in files:
        ahead, cut = offsets.get(file.stem, 0.0), 0
        with file.open(encoding="utf-8", errors="replace") as stream:
            for text in stream:
                try:
                    line = json.loads(text)
                    at = float(line["at"]) - ahead
                    yield from _metrics(line, at)
                    flows += [(at, line["node"], *flow) for flow in line.get("flows", ())]
                    if "note" in line:
                        notes.append(f"{file.stem}: {line['note']}")
                except (ValueError, KeyError, TypeError):
                    cut += 1
        if cut:
            notes.append(f"{file.name}: {cut} lines are cut off or no JSON")


def _metrics(line: Mapping[str, Any], at: float) -> list[tuple[Any, ...]]:
    return [
        (at, str(line["node"]), str(name), json.dumps(labels, sort_keys=True), float(value))
        for name, labels, value in line.get("metrics", ())
    ]


def gateway_spans(lines: Iterable[LogLine], node: str) -> list[Span]:
    """Spans of the gateway from its log; requests whose caller named no trace have one without a name."""
    found = (gateway_log.parse_line(line.message) for line in lines if line.unit == GATEWAY)
    return [line.span(node) for line in found if line is not None and line.method == "POST"]


def span_row(span: Span) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    attributes = json.dumps(dict(span.attributes), sort_keys=True)
    return (span.trace, span.span, span.parent, span.name, span.node, span.began, span.ended, attributes)


def spans_of(rows: Iterable[Mapping[str, Any]]) -> list[Span]:
    """The spans of a bundle's table, as they were."""
    return [Span(**{**row, "attributes": json.loads(row["attributes"])}) for row in rows]


async def _logs(
    host: Host, window: tuple[float, float], offsets: Mapping[str, float], notes: list[str]
) -> list[LogLine]:
    """A host's logs, on our clock."""
    ahead = offsets.get(host.name, 0.0)
    output = await _asked(host, program(host, log_order(host, window, ahead)), first_line(READ_LOGS), notes)
    found, complete = [], False
    for text in output.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            said = json.loads(text)
            if isinstance(said, dict):
                complete = True
                notes += [f"{host.name}: {note}" for note in said.get("notes", ())]
            else:
                at, unit, replica, message = said
                found.append(LogLine(float(at) - ahead, str(unit), str(replica), str(message)))
    if output and not complete:
        notes.append(f"{host.name}: its logs are cut off after {len(found)} lines")
    return found


def log_order(host: Host, window: tuple[float, float], ahead: float) -> dict[str, Any]:
    """What is read on a host, on its own clock."""
    here = host.settings
    manager = kinds.of(here).manager
    names = [service.name for service in roles.services(here)]
    files = [[name, manager.log(name)] for name in names] if manager.state_directory else []
    return {
        "since": window[0] + ahead,
        "until": window[1] + ahead,
        "units": [] if files else names,
        "files": files,
        "ray": here.directories.ray,
        "life": proof_record_path(here) if here.runs_engine else "",
    }


async def _engine_spans(
    control: Host, window: tuple[float, float], offsets: Mapping[str, float], notes: list[str]
) -> list[Span]:
    """Spans that the receiver on the control node has kept, on our clock."""
    path = spans_file(control.settings)
    if not path:
        notes.append("the inventory asks for no traces: no spans of the engines; Site(telemetry='traces') has them")
        return []
    await asyncio.sleep(max(0.0, min(window[1] - clock(), AFTER_SECONDS)))
    line = words(
        control, ["sh", "-c", 'for part in "$1.1" "$1"; do [ ! -e "$part" ] || cat -- "$part"; done', "-", path]
    )
    output = await _asked(control, line, b"", notes)
    found, wrong = [], 0
    for text in output.splitlines():
        try:
            span = received(json.loads(text))
        except (ValueError, KeyError, TypeError):
            wrong += 1
            continue
        span = span.moved(-offsets.get(span.node, 0.0))
        if span.ended >= window[0] and span.began <= window[1]:
            found.append(span)
    if wrong:
        notes.append(f"{path}: {wrong} lines are no spans")
    return found


async def _asked(host: Host, command: list[str], given: bytes, notes: list[str]) -> str:
    """What a command on a host prints; "" with a note where it did not come to its end."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except (OSError, OperatorError) as error:
        notes.append(f"{host.name}: not asked: {error}")
        return ""
    try:
        output, complaint = await asyncio.wait_for(process.communicate(given), HOST_SECONDS)
    except TimeoutError:
        notes.append(f"{host.name}: no answer within {HOST_SECONDS:g} s")
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = " ".join(complaint.decode(errors="replace").split())[-200:]
        notes.append(f"{host.name}: exit {process.returncode}: {said}")
    return output.decode(errors="replace")


async def _dashboards(control: Host, bundle: Path, notes: list[str]) -> None:
    """Grafana's files beside the data: this project's, and Ray's own from the runtime on the control node."""
    here = control.settings
    found = {"cluster": grafana.dashboard(here.cluster)}
    python = f"{runtime_lock.directory(here)}/bin/python"
    output = await _asked(control, words(control, [python, "-c", LOADER]), first_line(RAY_DASHBOARDS), notes)
    with contextlib.suppress(ValueError, AttributeError, IndexError):
        found |= json.loads(output.splitlines()[-1])
    place = bundle / GRAFANA
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, value in found.items():
            (place / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    except OSError as error:
        notes.append(f"{place}: {error.strerror}; no dashboards are kept")
