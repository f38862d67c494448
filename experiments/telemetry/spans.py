"""A span of a trace, whoever told of it: the engine by OTLP, the gateway in its log. Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# Resource attribute by which an engine's spans name their node (deploys/observability/declared.py).
NODE = "cluster.node"


@dataclass(frozen=True)
class Span:
    """One span. `trace`, `span`, `parent`: identities in hexadecimal, "" for none; `node`: whose host's clock it is."""

    trace: str
    span: str
    parent: str
    name: str
    node: str
    began: float
    ended: float
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def moved(self, seconds: float) -> Span:
        """The same on another clock."""
        return replace(self, began=self.began + seconds, ended=self.ended + seconds)


def received(line: Mapping[str, Any]) -> Span:
    """A span as the receiver of OTLP keeps it; KeyError, TypeError or ValueError for what is none."""
    resource = line.get("resource") or {}
    return Span(
        trace=str(line["trace"]),
        span=str(line["span"]),
        parent=str(line["parent"]),
        name=str(line["name"]),
        node=str(resource.get(NODE, "")),
        began=float(line["began"]),
        ended=float(line["ended"]),
        attributes=dict(line["attributes"]),
    )
