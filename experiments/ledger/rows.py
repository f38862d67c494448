"""The parts of each request's time, from three books that know nothing of each other. Pure; milliseconds.

The client knows when it wanted to send, sent, and had the whole answer. The gateway's span has its own timers, the
engine's its own: both are lengths, so no clock of one host is compared with another's. What two ends of a wire saw
differently lies between them; of that the kernel's round trip of the pair is the network's, the rest is the process
that reads late: the client, or the engine's API (HTTP, tokens to text).

    client   the schedule's lag (`due` to `sent`), and what the client saw beyond the gateway and the wire
    network  round trips: client to gateway, gateway to engine
    gateway  reading the request, waiting for an engine's place, connecting
    engine   the engine's API around its queue, prefill and decode
    queue, prefill, decode  the engine's own
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Protocol

from experiments.telemetry import gateway_log
from experiments.telemetry.spans import Span

ENGINE_SPAN = "llm_request"  # vLLM's
_LATENCY = "gen_ai.latency."
WHOLE, QUEUE = f"{_LATENCY}e2e", f"{_LATENCY}time_in_queue"
PREFILL, DECODE = f"{_LATENCY}time_in_model_prefill", f"{_LATENCY}time_in_model_decode"
PARTS = ("client", "network", "gateway", "engine", "queue", "prefill", "decode")
# An engine's span that lies farther than this from its request, by the clocks' own offsets, is another request's.
APART_SECONDS = 0.25
ALL, GATEWAY_ONLY, CLIENT_ONLY = "all", "gateway", "client"


class Asked(Protocol):
    """What of a request's record the ledger needs (experiments/load/records.py). Unix seconds."""

    @property
    def number(self) -> int: ...
    @property
    def step(self) -> str: ...
    @property
    def warm_up(self) -> bool: ...
    @property
    def due(self) -> float | None: ...
    @property
    def sent(self) -> float: ...
    @property
    def ended(self) -> float: ...
    @property
    def node(self) -> str: ...
    @property
    def replica(self) -> str: ...
    @property
    def trace(self) -> str: ...


@dataclass(frozen=True)
class Row:
    """One request. A part is None where nobody told of it; `known` says who did: all, gateway, or client alone.

    `engine_ms` holds the engine's queue, prefill and decode too where only the gateway's span is known.
    `unexplained_ms` is what the parts leave over: below zero where two books say more than the whole.
    """

    number: int
    step: str
    warm_up: bool
    node: str
    replica: str
    trace: str
    whole_ms: float
    client_ms: float | None
    network_ms: float | None
    gateway_ms: float | None
    engine_ms: float | None
    queue_ms: float | None
    prefill_ms: float | None
    decode_ms: float | None
    unexplained_ms: float
    known: str

    def parts(self) -> dict[str, float]:
        """Those that are known."""
        found = {part: getattr(self, f"{part}_ms") for part in PARTS}
        return {part: value for part, value in found.items() if value is not None}

    def values(self) -> tuple[Any, ...]:
        """In the order of the ledger's columns (experiments/telemetry/tables.py)."""
        return astuple(self)


def build(
    records: Iterable[Asked],
    spans: Iterable[Span],
    flows: Iterable[Mapping[str, Any]] = (),
    offsets: Mapping[str, float] | None = None,
    control: str = "",
) -> list[Row]:
    """A row for each record. `flows`: rows of flows.parquet. `offsets`: seconds that a host's clock is ahead of the
    client's, by node. `control`: the node that the gateway runs on.
    """
    moved = [span.moved(-(offsets or {}).get(span.node, 0.0)) for span in spans if span.trace]
    gateways: dict[str, Span] = {}
    engines: dict[str, list[Span]] = defaultdict(list)
    for span in moved:
        if span.name == gateway_log.NAME:
            gateways[span.trace] = span
        elif span.name == ENGINE_SPAN:
            engines[span.trace].append(span)
    trips = Trips.of(flows, control)
    return [_row(record, gateways.get(record.trace), engines.get(record.trace, []), trips) for record in records]


@dataclass(frozen=True)
class Trips:
    """Round trips in milliseconds, the middle of what was seen: client to gateway, and gateway to each node.

    None where no flow was seen: then nothing is known to be the network's.
    """

    client: float | None
    nodes: Mapping[str, float]

    @classmethod
    def of(cls, flows: Iterable[Mapping[str, Any]], control: str) -> Trips:
        """From rows of flows.parquet: a node's flow to the control node, or the control node's to it."""
        seen: dict[str, list[float]] = defaultdict(list)
        rows = [row for row in flows if row["protocol"] == "tcp" and row["rtt_ms"] is not None]
        nodes = {str(row["node"]) for row in rows}
        for row in rows:
            node, peer = str(row["node"]), str(row["peer"])
            if node == control:
                seen[peer if peer in nodes else ""].append(row["rtt_ms"])
            elif peer == control or peer not in nodes:
                # Nodes that share a machine see the gateway under the machine's own address.
                seen[node].append(row["rtt_ms"])
        middles = {name: statistics.median(values) for name, values in seen.items()}
        return cls(middles.pop("", None), middles)


def _row(record: Asked, gateway: Span | None, engines: Sequence[Span], trips: Trips) -> Row:
    began = record.sent if record.due is None else min(record.due, record.sent)
    whole, lag = (record.ended - began) * 1000, (record.sent - began) * 1000
    known, parts = CLIENT_ONLY, {"client": lag}
    timers = _timers(gateway, whole - lag)
    if timers is not None:
        total, behind = timers
        engine = _engine(record, engines)
        if engine is not None:
            # On a busy machine an engine has been seen to count up to 0.4 s more than the gateway says that it waited
            # (HAProxy may take a time in which it was not run for a jump of the clock). There the client's word counts.
            lost = min(max(engine[0] - behind, 0.0), max(whole - lag - total, 0.0))
            total, behind = total + lost, behind + lost
        beyond = whole - lag - total
        wire = _share(trips.client, beyond)
        known, parts = GATEWAY_ONLY, {"client": lag + max(beyond - wire, 0.0), "gateway": total - behind}
        if engine is None:
            parts |= {"network": wire, "engine": behind}
        else:
            inside, own = engine
            known, beyond = ALL, behind - inside
            behind_wire = _share(trips.nodes.get(record.node), beyond)
            around = max(beyond - behind_wire, 0.0) + max(inside - sum(own.values()), 0.0)
            parts |= {"network": wire + behind_wire, "engine": around, **own}
    return Row(
        number=record.number,
        step=record.step,
        warm_up=record.warm_up,
        node=record.node,
        replica=record.replica,
        trace=record.trace,
        whole_ms=whole,
        unexplained_ms=whole - sum(parts.values()),
        known=known,
        **{f"{part}_ms": parts.get(part) for part in PARTS},
    )


def _share(trip: float | None, beyond: float) -> float:
    """Of what two ends saw differently, the network's."""
    return min(max(beyond, 0.0), trip) if trip is not None else 0.0


def _timers(gateway: Span | None, seen: float) -> tuple[float, float] | None:
    """Whole time at the gateway, and of it that behind it; None where no engine answered.

    `seen`: from sent to ended at the client. The gateway stops its clock when it has put the answer away, on a busy
    machine some milliseconds after the client has all of it: what it did then is no time of the request. Its timers are
    cut to whole milliseconds, so the time behind it is what the others leave of the whole, not the sum of two more.
    """
    if gateway is None:
        return None
    about = gateway.attributes
    whole, rest = about.get("gateway.whole_ms"), about.get("gateway.sent_ms")
    told = (about.get(f"gateway.{name}_ms") for name in ("received", "queued", "connected"))
    own = [float(value) for value in told if value is not None]
    if whole is None or rest is None or len(own) < 3:
        return None
    afterwards = min(max(whole - seen, 0.0), rest)
    return whole - afterwards, whole - sum(own) - afterwards


def _engine(record: Asked, spans: Sequence[Span]) -> tuple[float, dict[str, float]] | None:
    """Time within the engine, and its parts; of several spans of a trace the last that lies within the request."""
    mine = [
        span
        for span in spans
        if record.sent - APART_SECONDS <= span.began <= record.ended + APART_SECONDS and WHOLE in span.attributes
    ]
    if not mine:
        return None
    about = max(mine, key=lambda span: span.began).attributes
    names = {"queue": QUEUE, "prefill": PREFILL, "decode": DECODE}
    return float(about[WHOLE]) * 1000, {part: float(about.get(name, 0.0)) * 1000 for part, name in names.items()}
