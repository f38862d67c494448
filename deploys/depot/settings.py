"""Settings of the depot."""

from __future__ import annotations

from deploys.part import Part


class Depot(Part, frozen=True):
    """Where the control node hands out runtime and weights, on the cluster's network."""

    port: int
