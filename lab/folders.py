"""What of this machine the hosts share: certificates, package folders, the runtime, the models.

Hosts trust what this machine trusts. Control also sees the local package folders that pip and uv are set up
with here, at the same paths. The locked runtime is one directory for all hosts: control builds it, the others
read it. The parsers are pure.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.paths import LabPaths
from lab.plan import CONTROL

CERTIFICATE_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# The first one's entries are links into the other two.
TRUST_FOLDERS = (
    Path("/etc/ssl/certs"),
    Path("/usr/share/ca-certificates"),
    Path("/usr/local/share/ca-certificates"),
)
# Mount points of what hosts share: every host has the directories, also where nothing is mounted.
SHARED_FOLDERS = (Path("opt/cluster"), Path("var/lib/cluster/models"))
TRUST_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")


@dataclass(frozen=True)
class Bind:
    """One directory of this machine that a host sees at target."""

    source: Path
    target: Path
    writable: bool = False

    def option(self) -> str:
        """As an option of systemd-nspawn."""
        return f"--bind{'' if self.writable else '-ro'}={self.source}:{self.target}"


def local_folders(values: Iterable[str]) -> tuple[Path, ...]:
    """The local directories in pip's and uv's find-links values, as absolute paths.

    Blanks, commas or lines stand between them. Addresses and relative paths are left out, and so are / and the
    directories right below it: bound, they would hide the host's own.
    """
    found: list[Path] = []
    for value in values:
        for word in re.split(r"[\s,]+", value.strip()):
            path = Path(os.path.normpath(word.removeprefix("file://"))) if word else Path()
            if path.is_absolute() and len(path.parts) > 2 and ":" not in str(path) and path not in found:
                found.append(path)
    return tuple(found)


def find_links_of(text: str) -> str:
    """The find-links value of a pip configuration file; empty when it has none or cannot be read."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return ""
    return parser.get("global", "find-links", fallback="")


def pip_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """pip's configuration files, in the order it reads them."""
    home = Path(environment.get("HOME") or "/root")
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        user / "pip/pip.conf",
    ]
    if environment.get("PIP_CONFIG_FILE"):
        files.append(Path(environment["PIP_CONFIG_FILE"]))
    return tuple(files)


def package_folders(environment: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """The local package folders of this machine that exist."""
    values = os.environ if environment is None else environment
    texts = [find_links_of(path.read_text(errors="replace")) for path in pip_files(values) if path.is_file()]
    folders = local_folders([values.get("PIP_FIND_LINKS", ""), values.get("UV_FIND_LINKS", ""), *texts])
    return tuple(folder for folder in folders if folder.is_dir())


def binds(name: str, paths: LabPaths, folders: tuple[Path, ...]) -> tuple[Bind, ...]:
    """Every directory that the host of that name shares with this machine."""
    is_control = name == CONTROL
    found = [Bind(path, path) for path in TRUST_FOLDERS if path.is_dir()]
    found.append(Bind(paths.shared_runtime, Path("/opt/cluster"), writable=is_control))
    if is_control:
        found.append(Bind(paths.models, Path("/var/lib/cluster/models"), writable=True))
        found += [Bind(folder, folder) for folder in folders]
    return tuple(found)


def login_environment(name: str, folders: tuple[Path, ...]) -> str:
    """/etc/environment of the host.

    Its tools use the machine's certificates, and on control the package folders.
    """
    lines = []
    if Path(CERTIFICATE_BUNDLE).is_file():
        lines += [f"{variable}={CERTIFICATE_BUNDLE}" for variable in TRUST_VARIABLES]
    if name == CONTROL and folders:
        lines.append(f'PIP_FIND_LINKS="{" ".join(map(str, folders))}"')
        lines.append(f'UV_FIND_LINKS="{",".join(map(str, folders))}"')
    return "".join(f"{line}\n" for line in lines)
