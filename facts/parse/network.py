"""`ip -j address`, sysfs and `getent ahosts` to reports. Pure; bits per second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from facts.parse.gpu import ToolState
from facts.parse.quantity import whole_number
from facts.parse.report import Report
from facts.parse.sections import parse_sections
from facts.parse.sysfs import by_directory, key_values, parse_files, parse_json

MEGABIT = 1_000_000
THUNDERBOLT_DRIVER = "thunderbolt-net"
_NOT_FOUND_STATUS = 2


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
    virtual ones and "thunderbolt-net" for a USB4 host-to-host link.
    """

    name: str
    mac_address: str
    mtu_bytes: int
    state: str
    addresses: tuple[Address, ...]
    speed_bits_per_second: int | None
    driver: str


@dataclass(frozen=True)
class InterfacesReport(Report):
    """`tool` is the state of `ip`; without it there are interfaces but no addresses."""

    tool: ToolState
    interfaces: tuple[Interface, ...]
    detail: str = ""


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
    """The output of `facts.network.Interfaces`.

    Raises `ValueError` when `ip` printed something else than its JSON.
    """
    sections = parse_sections(output, "ip", "net")
    hardware = _hardware(parse_files(sections["net"].lines))
    section = sections["ip"]
    if not section.succeeded:
        interfaces = tuple(_from_sysfs(name, values) for name, values in hardware.items())
        return InterfacesReport("missing" if section.missing else "failed", interfaces, section.failure)
    links = parse_json(section.text, "ip address")
    if not isinstance(links, list):
        raise ValueError(f"ip address: a list was expected, not {type(links).__name__}")
    return InterfacesReport("present", tuple(_interface(link, hardware) for link in links if link))


def parse_resolution(output: Iterable[str]) -> ResolutionReport:
    """The output of `facts.network.Resolution`.

    Raises `ValueError` for a line that does not begin with an address.
    """
    sections = parse_sections(output, "name", "getent")
    name, section = sections["name"].text.strip(), sections["getent"]
    if not section.succeeded:
        not_found = section.status == _NOT_FOUND_STATUS
        return ResolutionReport(name, (), False, f"{name} does not resolve" if not_found else section.failure)
    addresses: list[str] = []
    for line in section.lines:
        first = line.split()[0] if line.split() else ""
        try:
            ip_address(first.partition("%")[0])
        except ValueError:
            raise ValueError(f"getent ahosts {name}: {line[:80]!r} does not begin with an address") from None
        if first not in addresses:
            addresses.append(first)
    loopback = any(ip_address(address.partition("%")[0]).is_loopback for address in addresses)
    return ResolutionReport(name, tuple(addresses), loopback)


def _interface(link: Any, hardware: dict[str, dict[str, str]]) -> Interface:
    if not isinstance(link, dict) or not isinstance(link.get("ifname"), str):
        raise ValueError(f"ip address: {str(link)[:80]!r} is no interface")
    name = link["ifname"]
    mtu = link.get("mtu")
    if not isinstance(mtu, int):
        raise ValueError(f"ip address, {name}: mtu is {mtu!r}")
    values = hardware.get(name, {})
    return Interface(
        name=name,
        mac_address=str(link.get("address", "")),
        mtu_bytes=mtu,
        state=str(link.get("operstate", "UNKNOWN")),
        addresses=tuple(_address(entry, name) for entry in link.get("addr_info") or () if entry),
        speed_bits_per_second=_speed(values, name),
        driver=_driver(values),
    )


def _address(entry: Any, name: str) -> Address:
    if not isinstance(entry, dict) or "local" not in entry or not isinstance(entry.get("prefixlen"), int):
        raise ValueError(f"ip address, {name}: {str(entry)[:80]!r} is no address")
    return Address(str(entry["local"]), entry["prefixlen"], str(entry.get("scope", "")))


def _from_sysfs(name: str, values: dict[str, str]) -> Interface:
    mtu = whole_number(values.get("mtu"), f"/sys/class/net/{name}/mtu") or 0
    state = values.get("operstate", "unknown").upper()
    return Interface(name, values.get("address", ""), mtu, state, (), _speed(values, name), _driver(values))


def _hardware(contents: dict[str, str]) -> dict[str, dict[str, str]]:
    """/sys/class/net/NAME/FILE as NAME -> FILE -> content; the uevent of its device under "uevent"."""
    interfaces: dict[str, dict[str, str]] = {}
    for directory, values in by_directory(contents).items():
        name = directory.removeprefix("/sys/class/net/").split("/")[0]
        interfaces.setdefault(name, {}).update(values)
    return interfaces


def _speed(values: dict[str, str], name: str) -> int | None:
    # The kernel says -1 for unknown, and cannot be read at all while the link is down.
    megabits = whole_number(values.get("speed"), f"/sys/class/net/{name}/speed")
    return megabits * MEGABIT if megabits is not None and megabits > 0 else None


def _driver(values: dict[str, str]) -> str:
    return key_values(values.get("uevent", ""), "=").get("DRIVER", "")
