"""Where the lab keeps its files. Pure; nothing here touches the disk.

Two places: `home` holds the lab that runs now (host disks, keys, lab.json), `cache` holds what is slow to
make and worth keeping (the shared runtime, model weights). `runtime` is machine-wide: namespaces
and addresses exist once on a machine, so the lock and the owner's mark live outside any one person's home.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.system import LabError

STATE_FILE_NAME = "lab.json"


def default_home(environment: Mapping[str, str] | None = None) -> Path:
    """$CLUSTER_HOME/lab, else $XDG_STATE_HOME/cluster/lab, else ~/.local/state/cluster/lab."""
    return _default(environment, "CLUSTER_HOME", "XDG_STATE_HOME", ".local/state")


def default_cache(environment: Mapping[str, str] | None = None) -> Path:
    """$CLUSTER_CACHE/lab, else $XDG_CACHE_HOME/cluster/lab, else ~/.cache/cluster/lab."""
    return _default(environment, "CLUSTER_CACHE", "XDG_CACHE_HOME", ".cache")


def _default(environment: Mapping[str, str] | None, own: str, shared: str, below_home: str) -> Path:
    values = os.environ if environment is None else environment
    if values.get(own):
        base = Path(values[own])
    elif values.get(shared):
        base = Path(values[shared]) / "cluster"
    else:
        base = Path(values.get("HOME") or "~") / below_home / "cluster"
    return base.expanduser().absolute() / "lab"


@dataclass(frozen=True)
class LabPaths:
    """The lab's places, all absolute. Raises LabError for a path that mounts cannot carry."""

    home: Path = field(default_factory=default_home)
    cache: Path = field(default_factory=default_cache)
    runtime: Path = Path("/run/cluster-lab")

    def __post_init__(self) -> None:
        for place in (self.home, self.cache, self.runtime):
            if not place.is_absolute():
                raise LabError(f"{place}: not an absolute path; give the lab's directories from / on")
            # Overlay and bind options separate their parts with these; there is no quoting that all of them
            # accept.
            if any(character in ":,\\\"'" or character.isspace() for character in str(place)):
                fault = "a blank, quote, comma, colon or backslash in it breaks mounts"
                raise LabError(f"{str(place)!r}: {fault}; use another path")

    @property
    def state_file(self) -> Path:
        """Written last, when every host is up."""
        return self.home / STATE_FILE_NAME

    @property
    def hosts(self) -> Path:
        """One directory a host: overlay upper layer, console log, pid file."""
        return self.home / "hosts"

    def host(self, name: str) -> Path:
        """Everything that belongs to one host."""
        return self.hosts / name

    @property
    def ssh_key(self) -> Path:
        """Private key of the login user, made for this lab."""
        return self.home / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Host keys of this lab's hosts, for strict checking."""
        return self.home / "ssh" / "known_hosts"

    @property
    def settings_before(self) -> Path:
        """Kernel settings as they were before the lab; put back by `down`."""
        return self.runtime / "settings-before.json"

    @property
    def lock_file(self) -> Path:
        """Held by the command that changes the lab; its text is the holder's pid."""
        return self.runtime / "lock"

    @property
    def owner_file(self) -> Path:
        """The home of the lab that has the machine's namespaces now."""
        return self.runtime / "home"

    @property
    def shared_runtime(self) -> Path:
        """Seen by every host as /opt/cluster; writable on control only.

        A package cache that is to hard-link into the runtime must be /opt/cluster/uv-cache: hard links do not
        cross a mount.
        """
        return self.cache / "opt"

    @property
    def models(self) -> Path:
        """Seen by control as /var/lib/cluster/models."""
        return self.cache / "models"
