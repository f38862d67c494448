"""What facts/programs/way_in.py prints to a `WayInReport`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from facts.parse.cluster_state import parse_json_line
from facts.parse.report import Report
from facts.parse.shape import mapping


@dataclass(frozen=True)
class WayInReport(Report):
    """How the connection that asked came to the host.

    `port` None: it is none of SSH, or nobody can tell. `interface` "": no interface has `address`. `listening`: where
    sshd listens, empty without root. `let_in`: what the loaded rules let in beside what is declared.
    """

    address: str
    port: int | None
    interface: str
    listening: tuple[int, ...]
    let_in: tuple[int, ...]


def parse_way_in(lines: list[str]) -> WayInReport:
    """ValueError with what and where for anything else than that line."""
    found = mapping(parse_json_line(lines, "way in"), "way in")
    arrival = mapping(found["arrival"] or {}, "way in: arrival")
    return WayInReport(
        str(arrival.get("address", "")),
        _port(arrival["port"]) if arrival else None,
        str(arrival.get("interface", "")),
        tuple(_port(port) for port in found["listening"]),
        tuple(_port(port) for port in found["let_in"]),
    )


def _port(said: object) -> int:
    if not isinstance(said, int) or isinstance(said, bool) or not 1 <= said <= 65535:
        raise ValueError(f"way in: {said!r} is no port")
    return said
