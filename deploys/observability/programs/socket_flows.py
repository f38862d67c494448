"""Flows between a node and its peers, from the kernel's own books: `ss -tiO` and conntrack. Standard library only.

Pure, but for `read`. Round trips are milliseconds, rates bytes a second; a flow's counts are those of its sockets that
are open now.
"""

import re
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SS = ("ss", "-H", "-n", "-t", "-i", "-O", "state", "established")
CONNTRACK = ("conntrack", "-L", "-o", "extended")
CONNTRACK_FILE = Path("/proc/net/nf_conntrack")
READ_SECONDS = 5.0
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_RATE = re.compile(r"([0-9.]+)([KMGT]?)bps")
_PLACE = re.compile(r"(?:\[(?:::ffff:)?([0-9a-fA-F:.]+)\]|([0-9a-fA-F.]+))(?:%[\w.-]+)?:(\d+)")


@dataclass(frozen=True)
class Socket:
    """One established TCP connection as this end knows it."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    rtt_ms: float | None
    retransmits: int
    delivery_bytes_per_second: float | None
    bytes: int


@dataclass
class Flow:
    """What goes between this node and one peer."""

    peer: str
    protocol: str
    rtt_ms: list[float] = field(default_factory=list)
    retransmits: int = 0
    delivery: list[float] = field(default_factory=list)
    bytes: int = 0

    def row(self) -> list[Any]:
        """Peer, protocol, round trip (the middle of its sockets), retransmits, delivery rate (the best), bytes."""
        middle = statistics.median(self.rtt_ms) if self.rtt_ms else None
        return [
            self.peer,
            self.protocol,
            middle,
            self.retransmits,
            max(self.delivery, default=None),
            self.bytes,
        ]


def sockets(text: str) -> Iterator[Socket]:
    """Connections in the output of `ss -tinOH`, with or without its column of states; other lines are left out."""
    for line in text.splitlines():
        words = line.split()
        places = [(index, found) for index, word in enumerate(words[:6]) if (found := _PLACE.fullmatch(word))]
        if len(places) < 2:
            continue
        (_, local), (last, peer) = places[:2]
        said = words[last + 1 :]
        values = dict(word.partition(":")[::2] for word in said if ":" in word)
        sent, received = _count(values.get("bytes_sent", "")), _count(values.get("bytes_received", ""))
        yield Socket(
            local[1] or local[2],
            int(local[3]),
            peer[1] or peer[2],
            int(peer[3]),
            _decimal(values.get("rtt", "").partition("/")[0]),
            _count(values.get("retrans", "").rpartition("/")[2]),
            _rate(said),
            sent + received,
        )


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _decimal(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _rate(words: list[str]) -> float | None:
    """What follows `delivery_rate`: bits a second with a unit."""
    if "delivery_rate" not in words[:-1]:
        return None
    found = _RATE.fullmatch(words[words.index("delivery_rate") + 1])
    number = _decimal(found[1]) if found else None
    return None if found is None or number is None else number * _UNITS[found[2]] / 8


def connections(text: str) -> Iterator[tuple[str, str, str, int]]:
    """Protocol, source, destination and bytes both ways of each line of conntrack's; no bytes where it counts none."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] in (["ipv4"], ["ipv6"]):
            words = words[2:]
        pairs = [word.partition("=")[::2] for word in words if "=" in word]
        ends = {key: value for key, value in reversed(pairs) if key in ("src", "dst")}  # the first of each counts
        if words and {"src", "dst"} <= ends.keys():
            total = sum(_count(value) for key, value in pairs if key == "bytes")
            yield words[0], ends["src"], ends["dst"], total


def flows(
    found: Iterable[Socket], tracked: Iterable[tuple[str, str, str, int]], own: str, names: Mapping[str, str]
) -> list[Flow]:
    """Flows of the node with the address `own`, by peer; `names` are the nodes' names by address.

    TCP is told by its sockets; conntrack tells of what has none.
    """
    known: dict[tuple[str, str], Flow] = {}

    def of(peer: str, protocol: str) -> Flow:
        name = names.get(peer, peer)
        return known.setdefault((name, protocol), Flow(name, protocol))

    for socket in found:
        if socket.local != own or socket.peer == own:
            continue
        flow = of(socket.peer, "tcp")
        flow.retransmits += socket.retransmits
        flow.bytes += socket.bytes
        if socket.rtt_ms is not None:
            flow.rtt_ms.append(socket.rtt_ms)
        if socket.delivery_bytes_per_second is not None:
            flow.delivery.append(socket.delivery_bytes_per_second)
    for protocol, source, destination, total in tracked:
        if protocol != "tcp" and own in (source, destination) and source != destination:
            of(destination if source == own else source, protocol).bytes += total
    return [known[key] for key in sorted(known)]


def read() -> tuple[str, str, list[str]]:
    """Output of ss, of conntrack, and what could not be asked. Conntrack wants root, and to be there at all."""
    said, why = _output(SS)
    missing = [why] if why else []
    tracked, why = _output(CONNTRACK)
    if why:
        try:
            tracked = CONNTRACK_FILE.read_text(errors="replace")
        except OSError:
            missing.append(f"{why}; flows without a socket are not told")
    return said, tracked, missing


def _output(command: tuple[str, ...]) -> tuple[str, str]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=READ_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{command[0]}: {type(error).__name__}"
    if done.returncode:
        return "", f"{command[0]}: exit {done.returncode}: {done.stderr.strip()[:120]}"
    return done.stdout, ""
