"""Where the time of each request went: client, network, gateway, engine's API, queue, prefill, decode."""

from experiments.ledger.rows import Asked, Row, build
from experiments.ledger.verdict import Excess, named, sums

__all__ = ["Asked", "Excess", "Row", "build", "named", "sums"]
