"""Where the operator's own machine keeps what belongs to a cluster: state, secrets, caches, package sources.

Nothing here is on a cluster's hosts. `CLUSTER_HOME` and `CLUSTER_CACHE` move it; else the XDG directories are used.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from pathlib import Path

from hardware.model import ProfileError

_SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")


def home_directory() -> Path:
    """State that must not be lost: secrets, known hosts, the laptop's daemons, the lab's description."""
    given = os.environ.get("CLUSTER_HOME")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "cluster"


def cache_directory() -> Path:
    """What can be made again: runtimes, images, models."""
    given = os.environ.get("CLUSTER_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cluster"


def cluster_directory(cluster: str) -> Path:
    """State of one cluster; ProfileError for a name that would leave the directory."""
    if not _SAFE_NAME.match(cluster):
        raise ProfileError(f"cluster name {cluster!r} cannot name a directory; use letters, digits, '-', '_' and '.'")
    return home_directory() / cluster


def secret_path(cluster: str, secret: str) -> Path:
    """File of a secret; made by the deploys with mode 0600, never written into an inventory."""
    return cluster_directory(cluster) / "secrets" / secret


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file of the operator's, whole or not at all, in a directory that is made where it is missing. OSError.

    A reader, or a run that is stopped, finds the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.touch(mode=mode)
        fresh.write_text(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def package_sources() -> dict[str, str]:
    """Environment that makes uv take packages where pip on this machine would; empty on the open internet.

    uv reads neither pip's configuration nor its PIP_ variables, so a mirror or a folder of wheels that pip knows is
    handed on. What the user set for uv itself wins. Returns only UV_ variables and SSL_CERT_FILE.
    """
    found: dict[str, str] = {}
    for variable, option in (
        ("UV_FIND_LINKS", "find-links"),
        ("UV_DEFAULT_INDEX", "index-url"),
        ("UV_INDEX", "extra-index-url"),
    ):
        value = os.environ.get(variable) or os.environ.get("PIP_" + option.replace("-", "_").upper())
        value = value or _pip_option(option)
        usable = [part for part in shlex.split(value or "") if _is_usable(part)]
        secret = next((part for part in usable if re.match(r"^[a-z]+://[^/@]+@", part)), None)
        if secret:
            raise ProfileError(
                f"{variable} or pip's {option} has credentials in its address, which would appear in plans and process "
                "lists; keep them in ~/.netrc on the hosts, which uv reads"
            )
        if usable:
            # uv splits find-links at commas, indexes at spaces.
            found[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(usable)
    certificates = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT") or _pip_option("cert")
    if certificates and Path(certificates).is_file():
        found["SSL_CERT_FILE"] = certificates
    return found


def _is_usable(source: str) -> bool:
    # A local index is skipped: uv asks it for every package and it answers only for some.
    return not source.startswith("file:")


def _pip_option(option: str) -> str | None:
    return _pip_options().get(option)


def _pip_options() -> dict[str, str]:
    """What pip's configuration files say, the later ones winning (pip's documentation, "Configuration").

    Read here rather than asked of pip: that takes a third of a second in every command, and pip need not be on PATH.
    """
    home = Path("~").expanduser()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        xdg / "pip" / "pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ]
    parser = configparser.RawConfigParser()
    found: dict[str, str] = {}
    for file in files:
        parser.clear()
        try:
            parser.read(file)
        except (OSError, configparser.Error):
            continue  # pip itself complains about such a file when it is used
        if parser.has_section("global"):
            found |= {key.replace("_", "-"): " ".join(value.split()) for key, value in parser.items("global")}
    return found
