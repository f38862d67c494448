"""/etc/hosts and cloud-init's word about it to a `NamesReport`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from facts.parse.report import Report
from facts.parse.sections import parse_sections

# FILE:manage_etc_hosts: VALUE, in YAML or JSON.
_SAID = re.compile(r"""(?P<file>/[^:]*):\s*[{]?\s*["']?manage_etc_hosts["']?\s*:\s*["']?(?P<value>[\w-]+)""")
_REWRITES = ("true", "yes", "on", "template", "localhost")


@dataclass(frozen=True)
class NamesReport(Report):
    """`host_name` is what the host calls itself, `hosts` the text of /etc/hosts, empty without one.

    `cloud_init`: the file that tells cloud-init to write /etc/hosts at every boot; empty where none does.
    """

    host_name: str
    hosts: str
    cloud_init: str


def parse_names(output: Iterable[str]) -> NamesReport:
    """The output of `facts.names.Names`. ValueError where it is cut off, or the host has no name."""
    sections = parse_sections(output, "uname", "hosts", "disabled", "cloud-init")
    name = sections["uname"].text.strip()
    if not name:
        raise ValueError("uname -n: no name")
    lines = sections["hosts"].lines if sections["hosts"].succeeded else ()
    said = [found for line in sections["cloud-init"].lines if (found := _SAID.match(line.strip()))]
    writes = said and said[-1]["value"].lower() in _REWRITES and not sections["disabled"].succeeded
    return NamesReport(name, "\n".join([*lines, ""]) if lines else "", said[-1]["file"] if writes else "")
