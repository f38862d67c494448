"""SSH files of a cluster on the operator's machine, made from its host data when somebody connects, and never before.

The data has their content, so that reading an inventory writes nothing. Whoever connects calls `make`: pyinfra's
connector (connectors/jump.py), and whatever runs `ssh` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inventories.composition.operator import write_whole

# Host data: the text of the file that `ssh_config_file` names.
CONFIGURATION = "ssh_config_text"


def make(data: Mapping[str, Any]) -> None:
    """Write the configuration where it is another, and an empty file for host keys; OSError where that cannot be.

    Nothing for a host whose data has no configuration of ours.
    """
    text = data.get(CONFIGURATION)
    if not text:
        return
    path = Path(data["ssh_config_file"])
    if not path.is_file() or path.read_text() != text:
        write_whole(path, text)
    known = Path(data["ssh_known_hosts_file"])
    if known.parent == path.parent:  # the operator's own list is theirs to make
        known.touch(mode=0o600)


def said(data: Mapping[str, Any], host: str) -> dict[str, str]:
    """What the configuration says of one host by its name: option -> value; empty where it is none of ours."""
    found: dict[str, str] = {}
    mine = False
    for line in str(data.get(CONFIGURATION) or "").splitlines():
        option, _, value = line.strip().partition(" ")
        if option == "Host":
            mine = value == host
        elif mine:
            found.setdefault(option, value)
    return found
