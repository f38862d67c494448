"""Where this machine's apt gets its packages, in the form that mmdebstrap takes. The parsers are pure.

The lab's image comes from the sources that this machine was set up with (a mirror, a proxy); no mirror's name
is written here. When this machine has no source for the suite, the answer is empty and mmdebstrap uses
Debian's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.system import LabError, run

APT_DIRECTORY = Path("/etc/apt")
# Proxies, time limits and date checks are how this machine reaches its mirrors; anything else of its
# configuration is its own.
PASSED_OPTIONS = re.compile(
    r"^Acquire::(?:(?:http|https)::(?:Proxy|CaInfo|Timeout)\b|Retries\b|Check-Valid-Until\b|Check-Date\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """One archive: a URI, a suite, its components, and the key ring that signs it (empty: apt's own)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self) -> str:
        """In the one-line form of sources.list."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


def parse_list(text: str) -> tuple[Source, ...]:
    """Sources of a one-line file (sources.list); other lines are skipped."""
    found = []
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        signed = re.search(r"signed-by=(/\S+)", options or "", re.IGNORECASE)
        found.append(Source(uri, suite, tuple(components.split()), signed.group(1) if signed else ""))
    return tuple(found)


def parse_deb822(text: str) -> tuple[Source, ...]:
    """Sources of a deb822 file (*.sources).

    A key written into the file itself is left out: no one-line form can carry it.
    """
    found: list[Source] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and name:
                fields[name] += f" {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
            "0",
        ):
            continue
        signed_by = fields.get("signed-by", "")
        key_ring = signed_by if re.fullmatch(r"/\S+", signed_by) else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(Source(uri, suite, tuple(fields.get("components", "").split()), key_ring))
    return tuple(found)


def sources_of_suite(sources: Iterable[Source], suite: str) -> tuple[Source, ...]:
    """The distribution's own archives of suite (with updates and security), third parties left out.

    Empty unless the suite's base archive is among them: an update archive alone cannot make a system.
    """
    wanted = (suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates")
    chosen: dict[str, Source] = {}
    for source in sources:
        if source.suite in wanted and "main" in source.components:
            narrowed = Source(source.uri, source.suite, ("main",), source.signed_by)
            chosen.setdefault(narrowed.line(), narrowed)
    found = tuple(chosen.values())
    return found if any(source.suite == suite for source in found) else ()


def host_mirrors(suite: str, directory: Path = APT_DIRECTORY) -> tuple[str, ...]:
    """This machine's sources for suite, as sources.list lines; empty when it has none."""
    sources: list[Source] = []
    for path in (directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))):
        if not path.is_file() or path.suffix not in (".list", ".sources"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        sources += parse_deb822(text) if path.suffix == ".sources" else parse_list(text)
    return tuple(source.line() for source in sources_of_suite(sources, suite))


def passed_options(dump: str) -> tuple[str, ...]:
    """The lines of `apt-config dump` that the image needs to reach the same mirrors in the same way. Pure."""
    lines = (line.strip() for line in dump.splitlines())
    return tuple(line.rstrip(";") for line in lines if PASSED_OPTIONS.match(line) and not line.endswith('"";'))


def host_apt_options() -> tuple[str, ...]:
    """This machine's proxy and date options, for mmdebstrap's --aptopt; empty without apt."""
    try:
        return passed_options(run(["apt-config", "dump"]).stdout)
    except LabError:
        return ()
