"""os-release, uname and friends to a `HostReport`. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.report import Report
from facts.parse.sections import Section, parse_sections


@dataclass(frozen=True)
class HostReport(Report):
    """`os_id` and `os_version` are os-release's ID and VERSION_ID ("debian", "12"; a rolling release has no
    version).

    `python_version` is /usr/bin/python3's ("3.11.2"), None without one. `virtualization` is
    systemd-detect-virt's word ("none" on metal, "kvm", "docker"), "unknown" without that tool. `unread` says what is
    absent because it could not be read; a text is "" then.
    """

    host_name: str
    os_id: str
    os_version: str
    os_name: str
    kernel_release: str
    architecture: str
    python_version: str | None
    virtualization: str
    init_is_systemd: bool
    unread: tuple[str, ...] = ()


def parse_host(output: Iterable[str]) -> HostReport:
    """The output of `facts.host.Host`. What cannot be read is absent, with its reason; `ValueError` where it is cut."""
    sections = parse_sections(output, "os-release", "uname", "python3", "systemd-detect-virt", "systemd")
    unread: list[str] = []
    release = parse_os_release(sections["os-release"], unread)
    uname = [line.strip() for line in sections["uname"].lines if line.strip()]
    if len(uname) != 3:
        unread.append(f"uname: 3 lines were expected (name, release, machine), not {len(uname)}")
        uname = [*uname, "", "", ""] if len(uname) < 3 else ["", "", ""]
    virtualization = sections["systemd-detect-virt"]
    # It exits 1 with the word "none" on real hardware.
    word = virtualization.text.strip() if virtualization.status in (0, 1) else ""
    return HostReport(
        host_name=uname[0],
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME") or release.get("ID", ""),
        kernel_release=uname[1],
        architecture=uname[2],
        python_version=_python_version(sections["python3"]),
        virtualization=word if re.fullmatch(r"[\w-]+", word) else "unknown",
        init_is_systemd=sections["systemd"].succeeded,
        unread=tuple(unread),
    )


def parse_os_release(section: Section, unread: list[str]) -> dict[str, str]:
    """os-release's assignments, unquoted; a line whose quote does not end, and a file without ID, are in `unread`."""
    if not section.succeeded:
        unread.append(f"os-release: {section.failure}")
        return {}
    values: dict[str, str] = {}
    for line in section.lines:
        key, found, value = line.partition("=")
        if not found or line.lstrip().startswith("#"):
            continue
        try:
            values[key.strip()] = " ".join(shlex.split(value))
        except ValueError as error:
            unread.append(f"os-release: {line.strip()[:80]!r}: {error}")
    if not values.get("ID"):
        unread.append(f"os-release: no ID among {len(section.lines)} lines")
    return values


def _python_version(section: Section) -> str | None:
    match = re.search(r"Python (\d+\.\d+\.\d+\S*)", section.text) if section.succeeded else None
    return match.group(1) if match else None
