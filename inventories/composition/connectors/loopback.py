"""`@loopback/NAME`: several cluster nodes that are processes of this one machine.

pyinfra's own `@local` allows a single host. The laptop cluster is three Ray nodes on three loopback addresses, and each
is a host of its own, so that the deploys, the facts and the verification are the same as on three machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.local import LocalConnector


class LoopbackConnector(LocalConnector):
    """Runs commands as the user who runs pyinfra, under the host's name."""

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Yield (name, data, groups); InventoryError when no name is given."""
        if not name:
            raise InventoryError("@loopback needs a name, as in @loopback/worker1")
        yield name, {}, ["@loopback"]
