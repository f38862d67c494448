"""What the gateway's log says of each request, as spans. Pure; unix seconds and milliseconds.

The gateway is HAProxy, which sends no traces. Its log has a line for each request, with its timers and the name of the
caller's trace (LOG in deploys/gateway/configuration.py): the gateway's span of that trace.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from experiments.telemetry.spans import Span

NAME = "gateway"
# HAProxy says -1 for a part that a request did not come to, and + before a time where an answer is still under way.
_TIME = r"[+]?(-?\d+)"
_LINE = re.compile(
    r"(?P<at>\d{13}) (?P<method>\S+) (?P<path>\S*) (?P<status>-?\d+) (?P<bytes>\d+) bytes, "
    rf"first byte after {_TIME} ms, whole {_TIME} ms, "
    rf"received {_TIME} queued {_TIME} connected {_TIME} sent {_TIME} ms, "
    r"trace (?P<trace>\S+) (?P<span>\S+), (?P<server>\S+), ended (?P<ended>\S+), retried [+]?(?P<retries>\d+)"
)
NO_SERVER = "<NOSRV>"


@dataclass(frozen=True)
class GatewayLine:
    """One request as the gateway saw it; times are milliseconds, None for a part that it did not come to.

    `at`: when its head was read. `received`: reading the head; `queued`: waiting for an engine's place; `connected`:
    connecting to it; `first_byte`: from then to the head of its answer; `sent`: the rest of the answer; `whole`: from
    the first byte of the request to the last of the answer, with what is in none of the others: the reading of its
    body.
    """

    at: float
    method: str
    path: str
    status: int
    bytes: int
    first_byte: int | None
    whole: int | None
    received: int | None
    queued: int | None
    connected: int | None
    sent: int | None
    trace: str
    parent: str
    server: str
    ended: str
    retries: int

    @property
    def node(self) -> str:
        """Node of the engine that it was given to; "" where it was given to none."""
        return "" if self.server == NO_SERVER else self.server.rpartition("-")[0]

    def span(self, node: str) -> Span:
        """The span of the gateway on `node`, with its timers in milliseconds."""
        began = self.at - (self.received or 0) / 1000
        times = ("first_byte", "whole", "received", "queued", "connected", "sent")
        about = {f"gateway.{name}_ms": getattr(self, name) for name in times}
        about |= {"gateway.server": self.server, "gateway.node": self.node, "gateway.retries": self.retries}
        about |= {"http.status": self.status, "http.path": self.path, "gateway.ended": self.ended}
        own = hashlib.sha256(f"{self.trace}{self.parent}{self.at}".encode()).hexdigest()[:16]
        return Span(self.trace, own, self.parent, NAME, node, began, began + (self.whole or 0) / 1000, about)


def parse_line(text: str) -> GatewayLine | None:
    """A line of the gateway's log; None for any other, as HAProxy writes of its servers and of itself."""
    found = _LINE.search(text)
    if found is None:
        return None
    first_byte, whole, received, queued, connected, sent = (
        None if value.startswith("-") else int(value) for value in found.groups()[5:11]
    )
    return GatewayLine(
        at=int(found["at"]) / 1000,
        method=found["method"],
        path=found["path"],
        status=int(found["status"]),
        bytes=int(found["bytes"]),
        first_byte=first_byte,
        whole=whole,
        received=received,
        queued=queued,
        connected=connected,
        sent=sent,
        trace="" if found["trace"] == "-" else found["trace"],
        parent="" if found["span"] == "-" else found["span"],
        server=found["server"],
        ended=found["ended"],
        retries=int(found["retries"]),
    )
