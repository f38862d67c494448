"""`ip -j address`, sysfs and `getent ahosts` to reports. Pure; bits per second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from facts.parse.gpu import ToolState
from facts.parse.quantity import Readings
from facts.parse.report import Report
from facts.parse.sections import parse_sections
from facts.parse.sysfs import by_directory, key_values, parse_files, parse_json

MEGABIT = 1_000_000
THUNDERBOLT_DRIVER = "thunderbolt-net"
_NOT_FOUND_STATUS = 2
_LARGEST_MTU = 2**31
_FASTEST_MEGABITS = 10_000_000


@dataclass(frozen=True)
class Address(Report):
    """An address with its prefix length, such as 10.0.0.11 and 24; `scope` is the kernel's (global, link,
    host).
    """

    address: str
    prefix_length: int
    scope: str


@dataclass(frozen=True)
class Interface(Report):
    """`state` is the kernel's operstate (UP, DOWN, UNKNOWN).

    `speed_bits_per_second` is None while the link is down and for virtual interfaces; `driver` is "" for
    virtual ones and "thunderbolt-net" for a USB4 host-to-host link. `other_names` are names that `ip` takes for it and
    the firewall does not.
    """

    name: str
    mac_address: str
    mtu_bytes: int | None
    state: str
    addresses: tuple[Address, ...]
    speed_bits_per_second: int | None
    driver: str
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class InterfacesReport(Report):
    """`tool` is the state of `ip`; without it there are interfaces but no addresses.

    `unread`: what `ip` said that could not be read; the rest of its answer stands.
    """

    tool: ToolState
    interfaces: tuple[Interface, ...]
    detail: str = ""
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResolutionReport(Report):
    """What the host's own resolver gives for a name, in its order.

    Empty `addresses`: the name does not resolve.
    """

    host_name: str
    addresses: tuple[str, ...]
    resolves_to_loopback: bool
    detail: str = ""


def parse_interfaces(output: Iterable[str]) -> InterfacesReport:
    """The output of `facts.network.Interfaces`; interfaces that `ip` leaves out are the kernel's.

    Raises `ValueError` for output that is cut.
    """
    sections = parse_sections(output, "ip", "net")
    hardware = _hardware(parse_files(sections["net"].lines))
    section = sections["ip"]
    links, detail = None, "" if section.succeeded else section.failure
    if section.succeeded:
        try:
            links = parse_json(section.text, "ip address")
        except ValueError as error:
            detail = str(error)
    if not isinstance(links, list):
        interfaces = tuple(_from_sysfs(name, values) for name, values in hardware.items())
        detail = detail or f"ip address: a list was expected, not {type(links).__name__}"
        return InterfacesReport("missing" if section.missing else "failed", interfaces, detail)
    unread: list[str] = []
    found = [interface for link in links if link and (interface := _interface(link, hardware, unread))]
    named = {interface.name for interface in found}
    unlisted = [name for name in hardware if name not in named]
    if unlisted:
        detail = f"ip does not list {', '.join(unlisted)}"
    found += [_from_sysfs(name, hardware[name]) for name in unlisted]
    return InterfacesReport("present", tuple(found), detail, tuple(unread))


def parse_resolution(output: Iterable[str]) -> ResolutionReport:
    """The output of `facts.network.Resolution`; lines that do not begin with an address are left out, and said."""
    sections = parse_sections(output, "name", "getent")
    name, section = sections["name"].text.strip(), sections["getent"]
    if not section.succeeded:
        not_found = section.status == _NOT_FOUND_STATUS
        return ResolutionReport(name, (), False, f"{name} does not resolve" if not_found else section.failure)
    addresses: list[str] = []
    odd = ""
    for line in section.lines:
        first = line.split()[0] if line.split() else ""
        if _ip(first) is None:
            odd = odd or (f"getent ahosts {name}: {line[:80]!r} does not begin with an address" if first else "")
        elif first not in addresses:
            addresses.append(first)
    loopback = any(found.is_loopback for address in addresses if (found := _ip(address)))
    return ResolutionReport(name, tuple(addresses), loopback, odd)


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _interface(link: Any, hardware: dict[str, dict[str, str]], unread: list[str]) -> Interface | None:
    if not isinstance(link, dict) or not isinstance(link.get("ifname"), str):
        unread.append(f"ip address: {str(link)[:80]!r} is no interface")
        return None
    name = link["ifname"]
    mtu, values = link.get("mtu"), hardware.get(name, {})
    if not isinstance(mtu, int) or isinstance(mtu, bool) or mtu < 0:
        unread.append(f"ip address, {name}: mtu is {str(mtu)[:40]}")
        mtu = _mtu(values)
    entries, others = link.get("addr_info"), link.get("altnames")
    return Interface(
        name=name,
        mac_address=str(link.get("address", "")),
        mtu_bytes=mtu,
        state=str(link.get("operstate", "UNKNOWN")),
        addresses=tuple(
            address
            for entry in (entries if isinstance(entries, list) else ())
            if entry and (address := _address(entry, name, unread))
        ),
        speed_bits_per_second=_speed(values),
        driver=_driver(values),
        other_names=tuple(str(other) for other in others) if isinstance(others, list) else (),
    )


def _address(entry: Any, name: str, unread: list[str]) -> Address | None:
    given = entry if isinstance(entry, dict) else {}
    length = given.get("prefixlen")
    if _ip(str(given.get("local"))) is None or not isinstance(length, int) or not 0 <= length <= 128:
        unread.append(f"ip address, {name}: {str(entry)[:80]!r} is no address")
        return None
    return Address(str(given["local"]), int(length), str(given.get("scope", "")))


def _from_sysfs(name: str, values: dict[str, str]) -> Interface:
    state = values.get("operstate", "unknown").upper()
    return Interface(name, values.get("address", ""), _mtu(values), state, (), _speed(values), _driver(values))


def _mtu(values: dict[str, str]) -> int | None:
    return Readings().whole(values.get("mtu"), "mtu", most=_LARGEST_MTU)


def _hardware(contents: dict[str, str]) -> dict[str, dict[str, str]]:
    """/sys/class/net/NAME/FILE as NAME -> FILE -> content; the uevent of its device under "uevent"."""
    interfaces: dict[str, dict[str, str]] = {}
    for directory, values in by_directory(contents).items():
        name = directory.removeprefix("/sys/class/net/").split("/")[0]
        interfaces.setdefault(name, {}).update(values)
    return interfaces


def _speed(values: dict[str, str]) -> int | None:
    # The kernel says -1 for unknown (some drivers 2^32-1), and cannot be read at all while the link is down.
    megabits = Readings().whole(values.get("speed"), "speed", least=1, most=_FASTEST_MEGABITS)
    return None if megabits is None else megabits * MEGABIT


def _driver(values: dict[str, str]) -> str:
    return key_values(values.get("uevent", ""), "=").get("DRIVER", "")
