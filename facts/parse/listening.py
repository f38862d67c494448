"""/proc/net/tcp, /proc/net/tcp6 and `ss -ltnpH` to listening ports. Pure.

/proc is the source: it is always there and complete. `ss` only adds the processes, because it cannot name
those of other users without root. Format of /proc/net/tcp: Documentation/networking/proc_net_tcp.rst of
Linux; addresses are 32-bit words in the host's byte order, taken as little-endian (x86_64, aarch64).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from facts.parse.report import Report
from facts.parse.sections import parse_sections

_LISTEN = "0A"
_TOLD = 5
_ENDPOINT = re.compile(r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})")
_PROCESS = re.compile(r'\("((?:[^"\\]|\\.)*)",pid=([0-9]{1,9})')


@dataclass(frozen=True)
class ListeningSocket(Report):
    """A TCP port that accepts connections.

    `address` is 0.0.0.0 or :: for all; `process` is "" when not known.
    """

    address: str
    port: int
    process: str = ""
    process_id: int | None = None

    @property
    def beyond_loopback(self) -> bool:
        return not ip_address(self.address).is_loopback


@dataclass(frozen=True)
class ListeningReport(Report):
    """Sockets in the order of port, then address.

    `processes_known`: `ss` answered, so that some may have a name. `unread`: lines of /proc that are not of its format,
    so that a port may be taken that is not listed here.
    """

    sockets: tuple[ListeningSocket, ...]
    processes_known: bool
    unread: tuple[str, ...] = ()


def parse_listening(output: Iterable[str]) -> ListeningReport:
    """The output of `facts.network.Listening`. What /proc does not tell, `ss` may.

    Raises `ValueError` when neither answers.
    """
    sections = parse_sections(output, "tcp", "tcp6", "ss")
    owners = _owners(sections["ss"].lines) if sections["ss"].succeeded else {}
    unread: list[str] = []
    if not sections["tcp"].succeeded:
        if not sections["ss"].succeeded:
            raise ValueError(f"/proc/net/tcp: {sections['tcp'].failure}")
        unread.append(f"/proc/net/tcp: {sections['tcp'].failure}")
    endpoints = {
        *_endpoints(sections["tcp"].lines, "/proc/net/tcp", unread),
        *_endpoints(sections["tcp6"].lines, "/proc/net/tcp6", unread),
        *(owners if unread else ()),
    }
    sockets = tuple(
        ListeningSocket(address, port, *owners.get((address, port), ("", None)))
        for port, address in sorted((port, address) for address, port in endpoints)
    )
    return ListeningReport(sockets, sections["ss"].succeeded, tuple(unread[:_TOLD]))


def _endpoints(lines: Iterable[str], where: str, unread: list[str]) -> Iterable[tuple[str, int]]:
    for line in lines:
        cells = line.split()
        if not cells or cells[0] == "sl":
            continue
        match = _ENDPOINT.fullmatch(cells[1]) if len(cells) > 3 else None
        if match is None:
            unread.append(f"{where}: {line.strip()[:80]!r} has no address:port in its second column")
        elif cells[3] == _LISTEN:
            yield _decoded(match.group(1)), int(match.group(2), 16)


def _decoded(hexadecimal: str) -> str:
    raw = bytes.fromhex(hexadecimal)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if len(words) == 4:
        return str(IPv4Address(words))
    address = IPv6Address(words)
    return str(address.ipv4_mapped or address)


def _owners(lines: Iterable[str]) -> dict[tuple[str, int], tuple[str, int | None]]:
    """(address, port) -> (process, process id) from rows "LISTEN 0 128 [::]:22 [::]:* users:((...))"."""
    owners: dict[tuple[str, int], tuple[str, int | None]] = {}
    for line in lines:
        cells = line.split()
        process = _PROCESS.search(line)
        host, _, port = cells[3].rpartition(":") if len(cells) > 4 else ("", "", "")
        if not re.fullmatch(r"[0-9]{1,5}", port):
            continue
        owner = (process.group(1), int(process.group(2))) if process else ("", None)
        host = host.partition("%")[0].strip("[]")
        if host == "*":  # a dual-stack socket, which /proc lists under tcp6
            owners[("::", int(port))] = owner
            continue
        try:
            address = ip_address(host)
        except ValueError:
            continue  # an address form of another ss version: the port stays, without its process
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        owners[(str(mapped or address), int(port))] = owner
    return owners
