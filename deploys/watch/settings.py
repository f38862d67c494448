"""Settings of watch."""

from __future__ import annotations

from collections.abc import Mapping

from deploys.part import Part


class Watch(Part, frozen=True):
    """What the web page shows of the hardware: names of each node's accelerators."""

    accelerators: Mapping[str, tuple[str, ...]]
