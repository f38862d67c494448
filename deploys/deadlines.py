"""How long the parts of a start may take before it is called failed. Pure."""

from __future__ import annotations

HEAD_SECONDS = 120
NODES_SECONDS = 180
# Hosts that share few processors start their workers slowly: 24 on two cores had not all joined after three minutes.
SECONDS_PER_NODE = 15
ENGINES_SECONDS = 1800
GATEWAY_SECONDS = 60


def nodes_seconds(nodes: int) -> int:
    """Until so many nodes, the control node among them, have joined Ray."""
    return NODES_SECONDS + SECONDS_PER_NODE * nodes
